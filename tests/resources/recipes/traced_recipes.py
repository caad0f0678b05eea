"""An encoder that learns a mean, and a detector that learns a limit from it: effects by hand."""

from dataclasses import dataclass

import numpy as np

from models.float_onnx import Graph


@dataclass(frozen=True)
class FittedCentre:
    mean: np.float32

    def predict(self, frame):
        return {"rest": frame.features[:, :1] - self.mean}

    def to_onnx(self):
        graph = Graph("centre")
        value = graph.columns(graph.input("features", 2), [0])
        graph.output("rest", graph.node("Sub", value, graph.constant(np.array([self.mean]))), 1)
        return graph.bytes()


class Centre:
    """Takes the mean of its rows off the first column."""

    def fit(self, frame, seed):
        return FittedCentre(np.float32(frame.features[:, 0].mean()))


class Same:
    """Learns nothing from its rows."""

    def fit(self, frame, seed):
        return FittedCentre(np.float32(0))


@dataclass(frozen=True)
class FittedLimit:
    name: str
    threshold: float
    listened: np.ndarray

    def predict(self, frame):
        return {"score": frame.upstream[self.name]}

    def to_onnx(self):
        graph = Graph("limit")
        graph.output("score", graph.node("Identity", graph.input(self.name, 1)), 1)
        return graph.bytes()


class Limit:
    """Flags what lies above every row it was trained on."""

    def fit(self, frame, seed):
        ((name, listened),) = frame.upstream.items()
        return FittedLimit(name, float(listened.max()), listened)
