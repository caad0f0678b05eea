"""Conformance checks of an ensemble, a user's own or ours: every breach at once, with its mend.

Nothing here needs data: small clean readings are made from the contract, the ensemble's own
expressions turn them into features, and its own recipes are fitted on these.
"""
