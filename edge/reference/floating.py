"""Operations on float32 in NumPy, each as its class in `edge.program` defines it.

Arrays are [rows, *shape of the value]. Sums go from the first element to the last, one addition
rounded after the other, so they are loops over elements and vectors over rows.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.program import (
    FloatBinary,
    FloatConv,
    FloatDense,
    FloatPool,
    FloatReduce,
    Floats,
    FloatUnary,
    Trees,
)
from edge.reference.floats import exp, sigmoid, tanh
from edge.reference.integer import flat_windows, grouped, total
from edge.reference.windows import inside, windows


def binary(step: FloatBinary, values: list[Floats]) -> Floats:
    """Two values, or one and the constant, element by element."""
    if step.constant is not None:
        constant = step.constant[None]
        values = [constant, values[0]] if step.constant_first else [values[0], constant]
    left, right = _aligned(*values)
    with np.errstate(all="ignore"):
        return _binary(step.kind, left, right).astype(np.float32)


def _binary(kind: str, left: Floats, right: Floats) -> NDArray[np.generic]:
    match kind:
        case "add":
            return np.asarray(left + right)
        case "sub":
            return np.asarray(left - right)
        case "mul":
            return np.asarray(left * right)
        case "div":
            return np.asarray(left / right)
        case "min":
            return np.where(left < right, left, right)
        case "max":
            return np.where(left > right, left, right)
        case "equal":
            return np.asarray(left == right)
        case _:
            return np.asarray(left > right)


def _aligned(left: Floats, right: Floats) -> tuple[Floats, Floats]:
    """Both with one rank: axes of 1 after the rows, as NumPy would add were there no rows."""
    rank = max(left.ndim, right.ndim)
    return (
        left.reshape(left.shape[0], *[1] * (rank - left.ndim), *left.shape[1:]),
        right.reshape(right.shape[0], *[1] * (rank - right.ndim), *right.shape[1:]),
    )


def unary(step: FloatUnary, x: Floats) -> Floats:
    """One function, element by element."""
    with np.errstate(all="ignore"):
        match step.kind:
            case "relu":
                return np.where(x > 0, x, np.float32(0))
            case "neg":
                return np.asarray(-x)
            case "abs":
                return np.abs(x)
            case "sqrt":
                return np.sqrt(x)
            case "exp":
                return exp(x)
            case "sigmoid":
                return sigmoid(x)
            case _:
                return tanh(x)


def dense(step: FloatDense, x: Floats) -> Floats:
    """A layer."""
    return _product(x, step.weights.T) + step.bias


def conv(step: FloatConv, x: Floats) -> Floats:
    """A convolution."""
    _, height, width, _ = step.weights.shape
    seen = windows(x, (height, width), step.stride, step.dilation, step.pad, 0)
    made: Floats = grouped(seen, step.weights, step.groups, _product) + step.bias
    return made


def pool(step: FloatPool, x: Floats) -> Floats:
    """The greatest or the mean of every window."""
    if step.kind == "max":
        seen = windows(x, step.kernel, step.stride, (1, 1), step.pad, -np.inf)
        return _greatest(flat_windows(seen))
    seen = windows(x, step.kernel, step.stride, (1, 1), step.pad, 0)
    summed = total(flat_windows(seen).astype(np.float32))
    shape = (x.shape[1], x.shape[2])
    counts = inside(shape, step.kernel, step.stride, step.pad).sum(axis=(3, 4))
    if step.count_pad:
        counts = np.full_like(counts, step.kernel[0] * step.kernel[1])
    return np.asarray(summed / counts.astype(np.float32), np.float32)


def _greatest(x: Floats) -> Floats:
    """The first of the greatest along the last axis; a NaN stays."""
    greatest = np.full(x.shape[:-1], -np.inf, np.float32)
    for place in range(x.shape[-1]):
        value = x[..., place]
        # Not NumPy's max: which of 0.0 and -0.0 it gives depends on the processor.
        greatest = np.where((value > greatest) | np.isnan(value), value, greatest)
    return greatest


def reduce(step: FloatReduce, x: Floats) -> Floats:
    """Sum, mean or greatest along the last axis, which stays with length 1."""
    if step.kind == "max":
        greatest = x[..., 0]
        for place in range(1, x.shape[-1]):
            greatest = np.where(x[..., place] > greatest, x[..., place], greatest)
        return greatest[..., None]
    summed = total(x)[..., None]
    return summed if step.kind == "sum" else np.asarray(summed / np.float32(x.shape[-1]))


def softmax(x: Floats) -> Floats:
    """exp(x - max) over its sum, along the last axis."""
    with np.errstate(invalid="ignore"):
        powers = exp(x - reduce_greatest(x))
        return np.asarray(powers / total(powers)[..., None])


def reduce_greatest(x: Floats) -> Floats:
    """The greatest along the last axis, as `FloatReduce` finds it."""
    return reduce(FloatReduce("", (), "", "max"), x)


def argmax(x: NDArray[Any]) -> NDArray[np.int32]:
    """Place along the last axis of the first element that no later one is greater than."""
    best, place = x[..., 0], np.zeros(x.shape[:-1], np.int32)
    for other in range(1, x.shape[-1]):
        greater = x[..., other] > best
        best = np.where(greater, x[..., other], best)
        place = np.where(greater, np.int32(other), place)
    return place


def trees(step: Trees, x: Floats) -> Floats:
    """Leaves that every row reaches, summed in tree order."""
    rows = np.arange(len(x))
    summed = np.broadcast_to(step.base, (len(x), len(step.base))).astype(np.float32)
    for root in step.roots:
        node = np.full(len(x), root, np.int64)
        while (inner := step.feature[node] >= 0).any():
            given = x[rows, np.maximum(step.feature[node], 0)]
            to_left = (given <= step.threshold[node]) | (np.isnan(given) & step.missing_left[node])
            node = np.where(inner, np.where(to_left, step.left[node], step.right[node]), node)
        summed = summed + step.leaf[node]
    return summed


def _product(x: Floats, weights: Floats) -> Floats:
    """[..., K] @ [K, N], from the first k to the last."""
    made: Floats = np.zeros((*x.shape[:-1], weights.shape[1]), np.float32)
    with np.errstate(all="ignore"):
        for place in range(weights.shape[0]):
            made = made + weights[place] * x[..., place, None]
    return made
