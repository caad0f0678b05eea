"""firnline releases models to fleets of edge devices, with features that cannot change under them.

Importing it switches off the telemetry of every dependency. That is done here, before anything
else can be imported, because several of them read their switch once, when they are imported.
"""

from firnline.telemetry import switch_off

__version__ = "0.1.0"

switch_off()
