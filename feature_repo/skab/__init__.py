"""Features of the SKAB pump loop."""
