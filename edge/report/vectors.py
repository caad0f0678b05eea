"""The windows a proof was made on and what the reference makes of them, for anyone to run again."""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.export.make import Built


def vectors(built: Built) -> dict[str, bytes]:
    """`vectors/input.npy` as the device takes it, and `vectors/<output>.npy`, the golden answers.

    Rows are in the order of the proof; arrays are [rows, *shape].
    """
    model = built.model
    files = {f"vectors/{_plain(name)}.npy": _npy(array) for name, array in model.inputs.items()}
    golden = {
        f"vectors/{_plain(name)}.npy": _npy(model.golden[name]) for name in model.program.outputs
    }
    return files | golden


def _plain(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in name)


def _npy(array: NDArray[Any]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.ascontiguousarray(array), allow_pickle=False)
    return stream.getvalue()
