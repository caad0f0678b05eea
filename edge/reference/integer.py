"""Operations on int8 in NumPy, each as its class in `edge.program` defines it.

Arrays are [rows, *shape of the value]. Sums of products are taken in floats that hold them
exactly: float32 while no sum of their sizes reaches 2**24, else float64.
"""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge.program import (
    Add,
    AveragePool,
    Conv,
    Dense,
    Dequantize,
    Floats,
    Int8s,
    MaxPool,
    Quantize,
    Requant,
    Softmax,
    Value,
)
from edge.reference.windows import inside, windows

Sums: TypeAlias = NDArray[np.floating[Any]]


def quantize(step: Quantize, x: Floats, made: Value) -> Int8s:
    """clip(rint(x / scale) + zero, low, high)."""
    quotient = _divided(x, np.float32(made.scale))
    return _stored(quotient, made.zero, step.low, step.high)


def dequantize(step: Dequantize, x: Int8s, given: Value) -> Floats:
    """float32(x - zero) * scale."""
    return _reals(x, given)


def dense(step: Dense, x: Int8s, given: Value) -> Int8s | Floats:
    """A layer, requantised or as float32."""
    weights = step.weights.T
    sums = _product(x.astype(np.int16) - np.int16(given.zero), weights)
    if step.requant is not None:
        return _requantised(_biased(sums, step.bias), step.requant.scale, step.requant)
    return np.asarray(_biased(sums, step.bias).astype(np.float32) * step.scale)


def conv(step: Conv, x: Int8s, given: Value) -> Int8s:
    """A convolution, one group of channels after the other."""
    _, height, width, _ = step.weights.shape
    centred = x.astype(np.int16) - np.int16(given.zero)
    seen = windows(centred, (height, width), step.stride, step.dilation, step.pad, 0)
    sums = grouped(seen, step.weights, step.groups, _product)
    return _requantised(_biased(sums, step.bias), step.requant.scale, step.requant)


def max_pool(step: MaxPool, x: Int8s) -> Int8s:
    """The greatest of every window."""
    seen = windows(x, step.kernel, step.stride, (1, 1), step.pad, -128)
    return np.asarray(seen.max(axis=(3, 4)), np.int8)


def average_pool(step: AveragePool, x: Int8s, given: Value, made: Value) -> Int8s:
    """The mean of every window: from its integer sum, or in float32 steps."""
    count = _counts(step, given)
    centred = x.astype(np.int32) - given.zero
    seen = windows(centred, step.kernel, step.stride, (1, 1), step.pad, 0)
    if step.requant is not None:
        acc = seen.sum(axis=(3, 4), dtype=np.int64)
        places = np.zeros_like(count) if step.requant.scale.size == 1 else count - 1
        return _requantised(acc, step.requant.scale[places], step.requant)
    # The padding adds +0.0, which changes no sum that began at +0.0.
    reals = np.asarray(flat_windows(seen).astype(np.float32) * np.float32(given.scale))
    mean: Floats = np.asarray(total(reals) / count.astype(np.float32), np.float32)
    quotient = _divided(mean, np.float32(made.scale))
    return _stored(quotient + np.float32(made.zero), 0, step.low, step.high)


def add(step: Add, a: Int8s, b: Int8s) -> Int8s:
    """Two fused multiply-adds, rounded."""
    inner = (b * np.float64(step.right) + np.float64(step.fixed)).astype(np.float32)
    total = (a * np.float64(step.left) + inner.astype(np.float64)).astype(np.float32)
    return _stored(total, 0, step.low, step.high)


def softmax(step: Softmax, x: Int8s, made: Value) -> Int8s:
    """Exponentials out of the table, each as its share of the row's sum."""
    greatest = x.max(axis=-1, keepdims=True).astype(np.int32)
    powers = step.table[255 + x.astype(np.int32) - greatest]
    # Infinity, where an element is nearly all of the sum, is the greatest result all the same.
    with np.errstate(over="ignore"):
        shares = (powers * np.float32(step.levels)) / total(powers)[..., None]
    return _stored(shares, made.zero, -128, 127)


def grouped(seen: Any, weights: Any, groups: int, product: Any) -> Any:
    """Products of windows and weights, group by group.

    Args:
        seen: [rows, out height, out width, KH, KW, C].
        weights: [out, KH, KW, C // groups].
        groups: How many.
        product: Of [..., K] and [K, out of the group].

    Returns:
        [rows, out height, out width, out].
    """
    each, share = len(weights) // groups, weights.shape[3]
    parts = []
    for group in range(groups):
        part = seen[..., group * share : (group + 1) * share]
        flat = part.reshape(*part.shape[:3], -1)
        own = weights[group * each : (group + 1) * each]
        parts.append(product(flat, own.reshape(each, -1).T))
    return np.concatenate(parts, axis=-1)


def flat_windows(seen: NDArray[Any]) -> NDArray[Any]:
    """[rows, out height, out width, KH, KW, C] as [rows, out height, out width, C, KH * KW]."""
    return seen.reshape(*seen.shape[:3], -1, seen.shape[5]).swapaxes(3, 4)


def total(x: Floats) -> Floats:
    """Sum along the last axis, from 0 and the first element on, each addition rounded."""
    made: Floats = np.zeros(x.shape[:-1], np.float32)
    with np.errstate(all="ignore"):
        for place in range(x.shape[-1]):
            made = made + x[..., place]
    return made


def _product(x: NDArray[np.int16], weights: NDArray[np.int8]) -> Sums:
    """The exact [..., K] @ [K, N]."""
    greatest = float(np.abs(weights.astype(np.int64)).sum(axis=0).max(initial=0)) * 255
    kind = np.float32 if greatest < 2**24 else np.float64
    made: Sums = x.astype(kind) @ weights.astype(kind)
    return made


def _biased(sums: Sums, bias: NDArray[np.int32]) -> NDArray[np.float64]:
    return np.asarray(sums.astype(np.float64) + bias.astype(np.float64))


def _requantised(acc: NDArray[Any], scale: Floats, how: Requant) -> Int8s:
    return _stored(acc.astype(np.float32) * scale, how.zero, how.low, how.high)


def _stored(real: Floats, zero: int, low: int, high: int) -> Int8s:
    """clip(rint(real) + zero, low, high); bounded before the conversion, for it may be infinite."""
    bounded = np.clip(np.rint(real), np.float32(low - zero), np.float32(high - zero))
    return (bounded.astype(np.int32) + zero).astype(np.int8)


def _reals(x: Int8s, value: Value) -> Floats:
    made: Floats = (x.astype(np.int32) - value.zero).astype(np.float32) * np.float32(value.scale)
    return made


def _divided(x: Floats, scale: np.float32) -> Floats:
    with np.errstate(over="ignore"):
        made: Floats = x / scale
    return made


def _counts(step: AveragePool, given: Value) -> NDArray[np.int64]:
    """Elements of every window, [1, out height, out width, 1]."""
    shape = (given.shape[0], given.shape[1])
    counts = inside(shape, step.kernel, step.stride, step.pad).sum(axis=(3, 4), dtype=np.int64)
    whole = step.kernel[0] * step.kernel[1]
    return np.full_like(counts, whole) if step.count_pad else counts
