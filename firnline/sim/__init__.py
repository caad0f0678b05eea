"""A physical simulator of a refrigeration fleet: readings, labels, registry and grid."""
