"""One model to one target: built, run, proved against the reference, reported."""
