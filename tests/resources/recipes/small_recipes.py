"""Small real recipes: honest ones, and some with one fault each."""

from dataclasses import dataclass

import numpy as np

from models.float_onnx import Graph


@dataclass(frozen=True)
class FittedSum:
    bias: np.float32

    def predict(self, frame):
        return {"total": frame.features.sum(axis=1, keepdims=True) + self.bias}

    def to_onnx(self):
        graph = Graph("sum")
        features = graph.input("features", 2)
        ones = np.ones((1, 2), np.float32)
        graph.output("total", graph.layer(features, ones, np.array([self.bias])), 1)
        return graph.bytes()


class Sum:
    """Adds two columns and the mean of the rows it was fitted on."""

    def fit(self, frame, seed):
        return FittedSum(np.float32(frame.features.mean()))


@dataclass(frozen=True)
class FittedMemory:
    known: frozenset

    def predict(self, frame):
        hits = [[float((entity, time) in self.known)] for entity, time in _keys(frame)]
        return {"seen": np.array(hits, dtype=np.float32).reshape(-1, 1)}

    def to_onnx(self):
        raise NotImplementedError


class Memory:
    """Says 1 of every row it was fitted on, and 0 of every other."""

    def fit(self, frame, seed):
        return FittedMemory(frozenset(_keys(frame)))


@dataclass(frozen=True)
class FittedScore:
    threshold: float
    upstream_when_fitted: dict

    def predict(self, frame):
        return {"score": np.clip(frame.features[:, :1], 0, 1)}

    def to_onnx(self):
        graph = Graph("score")
        features = graph.input("features", 2)
        graph.output("score", graph.clip(graph.columns(features, [0]), 0.0, 1.0), 1)
        return graph.bytes()


class Score:
    """Clips its first column; remembers the upstream it was trained on."""

    def fit(self, frame, seed):
        return FittedScore(0.5, {**frame.upstream, "times": frame.times})


class Careless:
    """Returns what no manifest declares."""

    def __init__(self, fault):
        self.fault = fault

    def fit(self, frame, seed):
        if self.fault == "fails":
            raise ValueError("two rows at least")
        return self

    def predict(self, frame):
        good = np.zeros((len(frame), 1), np.float32)
        return {
            "name": {"scores": good},
            "shape": {"score": good[:, 0]},
            "dtype": {"score": good.astype(np.float64)},
            "range": {"score": good + 2},
            "finite": {"score": good / 0 if len(frame) == 0 else good + np.float32(np.nan)},
            "threshold": {"score": good},
        }[self.fault]


class NoFit:
    """Has no fit."""


def _keys(frame):
    return list(zip(frame.entities.tolist(), frame.times.tolist(), strict=True))
