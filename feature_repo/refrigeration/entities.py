"""What refrigeration features are about."""

from firnline.adapters.feast_objects import entity

device = entity("device", "device_id")
