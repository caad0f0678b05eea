"""The Feast repository: entities, sources, transforms, views and services of each ensemble."""
