"""The newest computed features of each view, as the flow's last apply named them."""

from pathlib import Path

from firnline.adapters.feast_objects import computed_folder, source

from .transforms import VIEWS

STATE = Path(__file__).resolve().parents[2] / ".firnline"
ENSEMBLE = "skab"

SOURCES = {view.reference: source(view, computed_folder(STATE, ENSEMBLE, view)) for view in VIEWS}
