"""Feast's online store of our own: one row an entity and version, written in columns, read fast."""
