"""The refrigeration ensemble: an encoder and a fault classifier."""
