"""Golden windows: what a device scores before it switches, and what must come of it."""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.chain import run
from edge.decide import FAULT, FLAGGED, SCORE
from edge.stage_graphs import Chain
from firnline.contracts.handshake import FEATURES_INPUT
from firnline.evidence.scores import DecisionRule

FOLDER = "golden"
ROWS = 16


def golden(
    chain: Chain, features: NDArray[np.float32], labels: NDArray[np.str_], rule: DecisionRule
) -> dict[str, bytes]:
    """Place in the bundle -> .npy bytes, of windows scored in one batch.

    `features` [rows, columns] float32, `score` and `flagged` [rows, 1] float32 and, with classes,
    `fault` [rows, 1] int64.

    Args:
        chain: The graphs that run.
        features: Shape [rows, columns]: the windows of the proof.
        labels: Shape [rows]; empty text where unknown.
        rule: Which labels are faults.
    """
    rows = np.ascontiguousarray(features[chosen(rule.faults(labels))])
    found = run(chain.links, chain.graphs, rows)
    values = {FEATURES_INPUT: rows} | {
        name: found[name] for name in (SCORE, FLAGGED, FAULT) if name in found
    }
    return {f"{FOLDER}/{name}.npy": _npy(value) for name, value in values.items()}


def chosen(faulty: NDArray[np.bool_], count: int = ROWS) -> NDArray[np.intp]:
    """Places of the windows, rising: the first of faults, as many as half, and the first others.

    They depend on labels and not on a model, so two releases are tested on the same windows.

    Args:
        faulty: Shape [rows].
        count: How many, where there are as many.
    """
    of_faults = np.flatnonzero(faulty)[: count // 2]
    others = np.setdiff1d(np.arange(len(faulty)), of_faults)[: count - len(of_faults)]
    return np.union1d(of_faults, others).astype(np.intp)


def _npy(values: NDArray[Any]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, values, allow_pickle=False)
    return stream.getvalue()
