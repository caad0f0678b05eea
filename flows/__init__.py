"""The flows: read, decide, write. Prefect is imported here alone."""
