"""What trained stages give: a view for every version the train flow has published."""

from pathlib import Path

from firnline.adapters.feast_objects import output_views

STATE = Path(__file__).resolve().parents[2] / ".firnline"
ENSEMBLE = "refrigeration"

OUTPUT_VIEWS = output_views(STATE, ENSEMBLE)

# Feast finds objects by looking at a module's names, so each view needs one of its own.
globals().update({view.name: view for view in OUTPUT_VIEWS.values()})
