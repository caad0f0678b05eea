"""Feast's views of the SKAB features, one a version."""

from firnline.adapters.feast_objects import feature_view

from .entities import rig
from .sources import SOURCES
from .transforms import VIEWS

FEATURE_VIEWS = {view.reference: feature_view(view, rig, SOURCES[view.reference]) for view in VIEWS}

# Feast finds objects by looking at a module's names, so each view needs one of its own.
rig_window_v1 = FEATURE_VIEWS["rig_window@v1"]
