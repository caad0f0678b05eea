"""The flows: read, decide, write. Prefect is imported here alone."""

from flows.put_off import put_off

put_off()
