"""The windows a proof was made on and what the reference makes of them, for anyone to run again."""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.export.make import Built

_LONGEST = 100
"""Letters of a name that are kept: with four bytes each, a file system still takes it."""


def vectors(built: Built) -> dict[str, bytes]:
    """`vectors/<input>.npy` as the device takes it, and `vectors/<output>.npy`, the golden answers.

    Rows are in the order of the proof; arrays are [rows, *shape]. What a file's name cannot hold
    is an underscore; names that are the same then are numbered.
    """
    model = built.model
    arrays = dict(model.inputs) | {name: model.golden[name] for name in model.program.outputs}
    files: dict[str, bytes] = {}
    for name, array in arrays.items():
        plain = _plain(name)
        place, count = f"vectors/{plain}.npy", 2
        while place in files:
            place, count = f"vectors/{plain}_{count}.npy", count + 1
        files[place] = _npy(array)
    return files


def _plain(name: str) -> str:
    kept = (letter if letter.isalnum() or letter in "._-" else "_" for letter in name)
    return "".join(kept)[:_LONGEST]


def _npy(array: NDArray[Any]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.ascontiguousarray(array), allow_pickle=False)
    return stream.getvalue()
