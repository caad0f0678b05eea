"""From a float graph to what a device runs: int8, parity proof, bundle."""
