"""One service a stage, as the flow's last apply named them; none before the first."""

from firnline.adapters.feast_objects import feature_services, read_pointer

from .sources import ENSEMBLE, STATE
from .views import FEATURE_VIEWS

SERVICES = feature_services(read_pointer(STATE, ENSEMBLE)["services"], FEATURE_VIEWS)

# Feast finds objects by looking at a module's names, so each service needs one of its own.
globals().update(SERVICES)
