"""Where each version's data lies: the same place on every machine."""

from firnline.adapters.feast_objects import source

from .transforms import VIEWS

SOURCES = {view.reference: source(view) for view in VIEWS}
