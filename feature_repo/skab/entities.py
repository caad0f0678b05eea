"""What SKAB's features are about."""

from firnline.adapters.feast_objects import entity

rig = entity("rig", "rig_id")
