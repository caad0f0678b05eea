"""Models that are quantised and lowered in a blink, on their way to targets."""

from functools import cache

import numpy as np

from edge.decide import SCORE, with_decision
from edge.export.model import of_ensemble, of_onnx
from edge.quantize import quantize
from firnline.contracts.quantize import Parity, Quantize
from firnline.evidence.scores import DecisionRule
from tests.edge import conftest
from tests.edge.quantize import nets

RULE = DecisionRule("score.chance", ("normal", "leak"), 0.5)
VERSIONS = {"ensemble": "small", "feature v@v1": "v@v1#123456"}


def dense(width=6):
    """Two layers on a vector, as float ONNX."""
    random = np.random.default_rng(0)
    shapes = {"w1": (8, width), "b1": (8,), "w2": (3, 8), "b2": (3,)}
    constants = {name: nets.weights(random, *shape) for name, shape in shapes.items()}
    layers = [
        nets.node("Gemm", "x w1 b1", "h", transB=1),
        nets.node("Relu", "h", "hr"),
        nets.node("Gemm", "hr w2 b2", "y", transB=1),
    ]
    return nets.model(layers, constants, [width], ["y"])


def series():
    """Two convolutions on a series, and a float score behind them, as float ONNX."""
    random = np.random.default_rng(1)
    shapes = {"w1": (4, 3, 3), "b1": (4,), "w2": (5, 4, 3), "b2": (5,)}
    constants = {name: nets.weights(random, *shape) for name, shape in shapes.items()}
    layers = [
        nets.node("Conv", "x w1 b1", "h", kernel_shape=[3]),
        nets.node("Relu", "h", "hr"),
        nets.node("Conv", "hr w2 b2", "y", kernel_shape=[3]),
        nets.node("Exp", "y", "raised"),
    ]
    return nets.model(layers, constants, [3, 12], ["y", "raised"])


def rows(*shape, count=600):
    """float32 [count, *shape], normal."""
    return np.random.default_rng(2).normal(size=(count, *shape)).astype(np.float32)


@cache
def of_dense(io="int8"):
    """The dense model, proved on 64 rows."""
    given = rows(6)
    made = quantize(dense(), given, Quantize())
    return of_onnx("Small dense", (dense(), made.model), given[:64], io)


@cache
def of_series(io="float32"):
    """The series model, proved on 32 rows."""
    given = rows(3, 12)
    made = quantize(series(), given, Quantize())
    return of_onnx("series", (series(), made.model), given[:32], io)


@cache
def decided():
    """An ensemble with missing values, a score, a threshold and a class, on 200 windows."""
    exact = conftest.net()
    given = rows(4)
    given[::7, 1] = np.nan
    given[::3] += np.float32([3, -3, 3, 3])
    made = quantize(exact, given, Quantize(ranges="clip", float_outputs=True))
    both = with_decision(exact, RULE), with_decision(made.model, RULE)
    labels = np.where(np.arange(200) % 3 == 0, "leak", "normal")
    labels[::5] = ""
    return of_ensemble("small", both, given[:200], labels, RULE, Parity(), VERSIONS)


__all__ = ["RULE", "SCORE", "VERSIONS", "decided", "dense", "of_dense", "of_series", "rows"]
