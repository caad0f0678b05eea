"""Feast's offline store, firnline's own: point-in-time joins, exact, without sorting features."""
