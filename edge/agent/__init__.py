"""The device side: pull what can be trusted, run it, and fall back when it fails."""
