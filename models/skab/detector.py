"""Stage 2: T-squared and SPE against limits taken from rows stage 1 has not seen."""

from dataclasses import dataclass

import numpy as np

from models.float_onnx import Graph
from models.recipe import FloatMatrix, Frame
from models.skab.rigs import RigTable, by_rig, places, unit

T2, SPE = "projection.t2", "projection.spe"
THRESHOLD = 0.5
_LEAST_LIMIT = 1e-6  # A rig whose held-out rows are all alike still gets a limit.


@dataclass(frozen=True)
class Detector:
    """How it is calibrated.

    Attributes:
        components: Leading components of stage 1, of `width` in all: T-squared weighs
            components / width, SPE the rest, their degrees of freedom.
        quantile: A rig's limit is this quantile of its held-out training rows.
        shrinkage: 1 takes a rig's own limit, 0 the geometric mean of all rigs'.
        factor: How many times the limit a distance may reach.
    """

    components: int
    quantile: float
    shrinkage: float
    factor: float

    def fit(self, frame: Frame, seed: int) -> "FittedDetector":
        """Take limits from stage 1's out-of-fold outputs; labels are not looked at."""
        codes, rows = by_rig(frame)
        statistics = np.hstack([frame.upstream[T2], frame.upstream[SPE]]).astype(np.float64)
        found = np.stack([np.quantile(statistics[of], self.quantile, axis=0) for of in rows])
        own = np.maximum(found, _LEAST_LIMIT)
        common = np.exp(np.log(own).mean(axis=0))
        limits = own**self.shrinkage * common ** (1 - self.shrinkage)
        width = len(places(frame)[1])
        share = np.array([self.components, width - self.components]) / width
        weights = np.vstack([share / limits, share / common]) / self.factor**2
        return FittedDetector(RigTable(codes, weights.astype(np.float32)), frame.names)


@dataclass(frozen=True)
class FittedDetector:
    """A calibrated detector.

    Attributes:
        weights: What T-squared and SPE of each rig are multiplied with, [rigs + 1, 2].
        names: Columns of the features.
        threshold: Score above which a row is flagged.
    """

    weights: RigTable
    names: tuple[str, ...]
    threshold: float = THRESHOLD

    def predict(self, frame: Frame) -> dict[str, FloatMatrix]:
        """`score` [rows, 1]: d / (1 + d) of the distance d, in limits; 1/2 is the limit."""
        statistics = np.hstack([frame.upstream[T2], frame.upstream[SPE]])
        weights = self.weights.look_up(frame.features[:, places(frame)[0]])
        distance = np.sqrt((statistics * weights).sum(axis=1))
        return {"score": unit((distance / (1 + distance)).astype(np.float32))}

    def to_onnx(self) -> bytes:
        """The same as a graph."""
        graph = Graph("detector")
        features = graph.input("features", len(self.names))
        statistics = graph.concat(graph.input(T2, 1), graph.input(SPE, 1))
        codes = graph.columns(features, [self.names.index("rig_window__rig_code")])
        weighed = graph.node("Mul", statistics, self.weights.node(graph, codes))
        axes = graph.constant(np.asarray([1], dtype=np.int64))
        distance = graph.node("Sqrt", graph.node("ReduceSum", weighed, axes, keepdims=1))
        one = graph.constant(np.ones((1, 1), np.float32))
        score = graph.node("Div", distance, graph.node("Add", distance, one))
        graph.output("score", score, 1)
        return graph.bytes()
