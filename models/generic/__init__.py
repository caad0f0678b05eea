"""Recipes for any table of window features: a residual, and a calibrated score over it."""
