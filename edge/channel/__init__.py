"""The channel: a TUF repository that brings releases to devices, and what keeps it."""
