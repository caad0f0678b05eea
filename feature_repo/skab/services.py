"""What each stage reads, one service a choice of versions; none before the first training."""

from firnline.adapters.feast_objects import feature_services, read_services

from .outputs import ENSEMBLE, OUTPUT_VIEWS, STATE
from .views import FEATURE_VIEWS

SERVICES = feature_services(read_services(STATE, ENSEMBLE), FEATURE_VIEWS | OUTPUT_VIEWS)

# Feast finds objects by looking at a module's names, so each service needs one of its own.
globals().update(SERVICES)
