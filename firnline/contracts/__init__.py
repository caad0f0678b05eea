"""What the parts of the platform owe each other: readings, features, ensembles, bundles."""
