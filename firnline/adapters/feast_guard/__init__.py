"""Keeps published feature versions as they are, whichever client writes Feast's registry."""
