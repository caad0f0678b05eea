"""NPUs: which part of a program one computes, in what form, at what cost, and the proof of it."""
