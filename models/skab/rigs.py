"""Values a model holds for each rig it was trained on, looked up by the rig's code in the graph."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from firnline.errors import HandshakeError
from models.float_onnx import Graph
from models.recipe import FloatMatrix, Frame

CODE = "rig_window__rig_code"

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class RigTable:
    """One row of values a rig, and one for a rig the model has not seen.

    Attributes:
        codes: Code of each rig, shape [rigs], ascending; whole numbers below 2**24.
        values: Shape [rigs + 1, width]; the last row is that of an unknown rig.
    """

    codes: NDArray[np.float32]
    values: NDArray[np.float32]

    def look_up(self, codes: NDArray[np.float32]) -> NDArray[np.float32]:
        """The row of each code, shape [rows, width]."""
        place = np.searchsorted(self.codes, codes).clip(max=len(self.codes) - 1)
        known = self.codes[place] == codes
        return self.values[np.where(known, place, len(self.codes))]

    def node(self, graph: Graph, codes: str) -> str:
        """The same look-up in a graph: `codes` is [rows, 1], the result [rows, width]."""
        same = graph.node("Equal", codes, graph.constant(self.codes[None]))
        chosen = graph.node("Cast", same, to=1)
        axes = graph.constant(np.asarray([1], dtype=np.int64))
        known = graph.node("ReduceSum", chosen, axes, keepdims=1)
        unknown = graph.node("Sub", graph.constant(np.ones((1, 1), np.float32)), known)
        return graph.project(graph.concat(chosen, unknown), self.values)


def places(frame: Frame) -> tuple[int, list[int]]:
    """Column of the rig's code, and columns of all other features."""
    code = frame.names.index(CODE)
    return code, [place for place in range(len(frame.names)) if place != code]


def by_rig(frame: Frame) -> tuple[NDArray[np.float32], list[NDArray[np.intp]]]:
    """Code of each rig of a frame, ascending, and its rows in time order.

    Raises:
        HandshakeError: SK1, two rigs share a code, so the graph could not tell them apart.
    """
    column = frame.features[:, places(frame)[0]]
    rows = {str(rig): np.flatnonzero(frame.entities == rig) for rig in np.unique(frame.entities)}
    codes = {rig: float(column[found[0]]) for rig, found in rows.items()}
    if len(set(codes.values())) < len(codes):
        raise HandshakeError(
            "SK1",
            found="two rigs share a code",
            where="rig_window__rig_code",
            mend="rename one of them, or give the code more letters in a new feature version",
        )
    ordered = sorted(codes, key=lambda rig: codes[rig])
    in_time = [rows[rig][np.argsort(frame.times[rows[rig]], kind="stable")] for rig in ordered]
    return np.array([codes[rig] for rig in ordered], dtype=np.float32), in_time


def unit(values: FloatMatrix) -> FloatMatrix:
    """A column vector [rows, 1]."""
    return values.reshape(-1, 1)
