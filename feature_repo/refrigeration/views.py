"""Feast's views of the refrigeration features, one a version."""

from firnline.adapters.feast_objects import feature_view

from .entities import device
from .sources import SOURCES
from .transforms import VIEWS

FEATURE_VIEWS = {
    view.reference: feature_view(view, device, SOURCES[view.reference]) for view in VIEWS
}

# Feast finds objects by looking at a module's names, so each view needs one of its own.
device_window_v1 = FEATURE_VIEWS["device_window@v1"]
device_hour_v1 = FEATURE_VIEWS["device_hour@v1"]
