"""Features of the refrigeration fleet."""
