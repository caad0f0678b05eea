"""Recipes: how each stage of an ensemble is trained, and how it becomes a graph."""
