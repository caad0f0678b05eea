"""Which operations an NPU computes to the same bytes, and in what form."""

from dataclasses import replace

import numpy as np

from edge.npu.factors import Sum, of_float_mean, of_mean, of_sum
from edge.npu.image import window
from edge.program import (
    Add,
    AveragePool,
    Concat,
    Conv,
    Dense,
    MaxPool,
    Operation,
    Program,
    Requant,
    Reshape,
    Table,
    Transpose,
)

_FACTORS = 1 << 22
"""Bound of a sum's factors: shifted up by RESCALE's least shift, they must fit 31 bits."""
_FORMS = (Add, AveragePool, Concat, Conv, Dense, MaxPool, Reshape, Table, Transpose)


def unfit(program: Program, step: Operation) -> str | None:
    """Why an operation cannot be on the NPU with the same bytes; None when it can.

    Args:
        program: That it belongs to.
        step: One of its operations.
    """
    kind = type(step).__name__
    if not isinstance(step, _FORMS):
        return f"{kind} has no exact integer form on an NPU"
    if any(program.values[name].dtype != "int8" for name in (*step.inputs, step.output)):
        return f"{kind} reads or makes other values than int8"
    if isinstance(step, AveragePool) and _counts_differ(program, step):
        return "windows of the AveragePool reach into the padding, so that their counts differ"
    if isinstance(step, AveragePool) and not pooling(program, step).requant.exact.all():
        return "no integer factor gives this AveragePool's float means for all sums"
    if isinstance(step, Dense | Conv) and not (step.requant and step.requant.exact.all()):
        return f"scales of this {kind} have no exact integer form"
    if isinstance(step, Add) and add_factors(program, step) is None:
        return "no integer factors give this Add's float sums on all pairs of inputs"
    return None


def add_factors(program: Program, step: Add) -> Sum | None:
    """The integers that make a sum, if there are any; those without a rest where there are."""
    a, b = (program.values[name].zero for name in step.inputs)
    made = program.values[step.output].zero
    own = of_sum(step.left, step.right, step.fixed, (a, b, made), (step.low, step.high))
    given = step.factors
    if own is not None or given is None or max(given.left, given.right) >= _FACTORS:
        return own
    zero = (made << given.shift) + (1 << (given.shift - 1))
    rest = given.offset + a * given.left + b * given.right - zero
    return Sum(given.left, given.right, given.shift, rest)


def pooling(program: Program, step: AveragePool) -> Conv:
    """An average over full windows, as a depthwise convolution with weights of 1.

    Its requantisation's `exact` tells whether there are integers for it.
    """
    source, made = program.values[step.inputs[0]], program.values[step.output]
    channels, count = source.shape[2], step.kernel[0] * step.kernel[1]
    sums = (-128 - source.zero) * count, (127 - source.zero) * count
    if step.requant is None:
        scale = np.float32(source.scale / made.scale / count)
        zero, bounds = made.zero, (step.low, step.high)
        scales, zeros = (source.scale, made.scale), (source.zero, made.zero)
        found = of_float_mean(scales, zeros, count, bounds)
    else:
        scale = step.requant.scale[min(count, step.requant.scale.size) - 1]
        zero, bounds = step.requant.zero, (step.requant.low, step.requant.high)
        found = of_mean(float(scale), zero, sums, bounds)
    multiplier, shift = found or (1, 33)
    requant = Requant(
        np.array([scale], np.float32),
        np.array([multiplier], np.int32),
        np.array([shift], np.uint8),
        np.array([found is not None]),
        zero,
        *bounds,
    )
    ones = np.ones((channels, *step.kernel, 1), np.int8)
    bias = np.zeros(channels, np.int32)
    ends = step.name, step.inputs, step.output
    return Conv(*ends, ones, bias, requant, step.stride, pad=step.pad, groups=channels)


def part(requant: Requant, channels: slice) -> Requant:
    """The factors of some channels; one that is for all stays."""
    if requant.scale.size == 1:
        return requant
    return replace(
        requant,
        scale=requant.scale[channels],
        multiplier=requant.multiplier[channels],
        shift=requant.shift[channels],
        exact=requant.exact[channels],
    )


def _counts_differ(program: Program, step: AveragePool) -> bool:
    """Whether windows hold different numbers of elements."""
    height, width, _ = program.values[step.inputs[0]].shape
    fitted = window((height, width), step.kernel, step.stride, (1, 1), step.pad)
    return any(fitted.pad) and not step.count_pad
