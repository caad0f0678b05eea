"""A good recipe, and the same with one fault at a time."""

from dataclasses import dataclass, field

import numpy as np

from models.float_onnx import Graph, matrix_info, proto


@dataclass
class Fitted:
    fault: str
    width: int
    weights: np.ndarray
    fill: np.ndarray = field(default_factory=lambda: np.array([4, 1], np.float32))

    def predict(self, frame):
        features = frame.features
        if self.fault != "finite":
            features = np.where(np.isnan(features), self.fill, features)
        value = 1 / (1 + np.exp(-(features @ self.weights.T + np.float32(0.1))))
        made = value.astype(np.float64 if self.fault == "dtype" else np.float32)
        if self.fault == "range":
            made = made + np.float32(2)
        return {
            "other" if self.fault == "name" else "score": made[:, 0]
            if self.fault == "shape"
            else made
        }

    def to_onnx(self):
        if self.fault == "no model":
            return b"not a graph"
        graph = Graph("tank")
        given = graph.input("features", 2)
        for name, width in {"asks": [("speed", 1)], "upstream": [("first.score", 2)]}.get(
            self.fault, []
        ):
            graph.input(name, width)
        filled = given if self.fault == "outside" else graph.impute(given, self.fill)
        if self.fault == "rows":
            mean = graph.node("ReduceMean", filled, axes=[0], keepdims=1)
            filled = graph.node("Sub", filled, graph.node("Sub", mean, mean))
            filled = graph.node(
                "Add", filled, graph.node("Mul", mean, graph.constant(np.array([0.01])))
            )
        bias = np.array([0.4 if self.fault == "unlike" else 0.1], np.float32)
        if self.fault == "no layer":
            value = graph.node("Add", graph.project(filled, self.weights.T), graph.constant(bias))
        else:
            value = graph.layer(filled, self.weights, bias)
        graph.output("answer" if self.fault == "output" else "score", graph.sigmoid(value), 1)
        return fixed(graph.bytes()) if self.fault == "batch" else graph.bytes()


@dataclass
class Calibrated(Fitted):
    threshold: float = 0.7


class Recipe:
    def __init__(self, fault="", threshold=True):
        self.fault, self.threshold = fault, threshold

    def fit(self, frame, seed):
        if self.fault == "typo":
            return frame.labels_of_rows
        if self.fault == "picky":
            raise ValueError("at least 100,000 rows are needed")
        if self.fault == "nothing":
            return None
        assert seed == 42
        weights = np.array([[0.05, 0.1]], np.float32)
        if self.fault == "random":
            weights = np.random.default_rng().random((1, 2)).astype(np.float32)
        return (Calibrated if self.threshold else Fitted)(self.fault, 2, weights)


def fixed(model):
    """The graph with one row as its only batch."""
    made = proto(model)
    for value in (*made.graph.input, *made.graph.output):
        width = value.type.tensor_type.shape.dim[1].dim_value
        value.CopyFrom(matrix_info(value.name, width))
        value.type.tensor_type.shape.dim[0].dim_value = 1
    return made.SerializeToString()
