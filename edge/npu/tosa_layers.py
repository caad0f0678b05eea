"""Layers in TOSA: a convolution's int32 sums, and the RESCALE that makes them int8."""

from dataclasses import replace
from typing import Any

import numpy as np

from edge.npu.exact import part
from edge.npu.image import window
from edge.npu.plan import Plan, Tensor
from edge.program import Conv


def convolve(
    graph: Plan, step: Conv, source: tuple[int, ...], zero: int, made: tuple[int, ...]
) -> None:
    """A convolution of any groups; those between 1 and one a channel are cut apart and joined.

    Args:
        graph: Gets the operators.
        step: The layer.
        source: Shape of its input, [1, H, W, C].
        zero: Zero point of its input.
        made: Shape of its output, [1, H, W, C].
    """
    if step.groups in (1, source[3]):
        _one(graph, step, source, zero, made)
        return
    taken, given = source[3] // step.groups, made[3] // step.groups
    pieces = []
    for group in range(step.groups):
        outer = slice(group * given, (group + 1) * given)
        cut = f"{step.output}@in{group}"
        size = (*source[:3], taken)
        take(graph, step.name, step.inputs[0], cut, (0, 0, 0, group * taken), size)
        piece = replace(
            step,
            inputs=(cut,),
            output=f"{step.output}@out{group}",
            weights=step.weights[outer],
            bias=step.bias[outer],
            requant=part(step.requant, outer),
            groups=1,
        )
        _one(graph, piece, size, zero, (*made[:3], given))
        pieces.append(piece.output)
    graph.tensor(Tensor(step.output, made))
    graph.node(step.name, "CONCAT", pieces, step.output, [3])


def _one(
    graph: Plan, step: Conv, source: tuple[int, ...], zero: int, made: tuple[int, ...]
) -> None:
    """A convolution of one group, or of one group a channel."""
    read, weights, prefix = step.inputs[0], step.weights, step.output
    down, across = weights.shape[1:3]
    fitted = window((source[1], source[2]), (down, across), step.stride, step.dilation, step.pad)
    if fitted.kept != source[1:3]:
        size = (1, *fitted.kept, source[3])
        read = take(graph, step.name, read, f"{prefix}@reached", (0, 0, 0, 0), size)
    depthwise = step.groups > 1
    if depthwise:
        each = weights.reshape(step.groups, -1, down, across)
        weights = np.ascontiguousarray(each.transpose(2, 3, 0, 1))
    inputs = (
        read,
        graph.constant(f"{prefix}@weights", weights),
        graph.constant(f"{prefix}@bias", step.bias),
        graph.constant(f"{prefix}@zero of input", np.array([zero], np.int8)),
        graph.constant(f"{prefix}@zero of weights", np.zeros(1, np.int8)),
    )
    top, left, bottom, right = fitted.pad
    options = [[top, bottom, left, right], step.stride, step.dilation, False, "DType.INT32"]
    sums = graph.tensor(Tensor(f"{prefix}@sums", made, "int32"))
    graph.node(step.name, "DEPTHWISE_CONV2D" if depthwise else "CONV2D", inputs, sums, options)
    how = step.requant
    narrow(graph, step.name, sums, prefix, how.multiplier, how.shift, (how.zero, how.low, how.high))


def narrow(
    graph: Plan,
    name: str,
    sums: str,
    output: str,
    multiplier: Any,
    shift: Any,
    result: tuple[int, int, int],
) -> None:
    """int32 sums to int8, within bounds.

    Args:
        graph: Gets the operators.
        name: The operation they serve.
        sums: Tensor to read, int32.
        output: Name of the tensor to make.
        multiplier: One for all or one a channel.
        shift: Likewise.
        result: Zero point, least and greatest of the result; saturation to int8 is RESCALE's own.
    """
    zero, low, high = result
    made = graph.tensors[sums].shape
    if (low, high) == (-128, 127):
        rescale(graph, name, sums, Tensor(output, made), multiplier, shift, (0, zero))
        return
    free = Tensor(f"{output}@unclamped", made)
    rescale(graph, name, sums, free, multiplier, shift, (0, zero))
    graph.tensor(Tensor(output, made))
    bounds = [[low & 0xFF], [high & 0xFF], "NanPropagationMode.PROPAGATE"]
    graph.node(name, "CLAMP", [free.name], output, bounds)


def rescale(
    graph: Plan,
    name: str,
    source: str,
    target: Tensor,
    multiplier: Any,
    shift: Any,
    zeros: tuple[int, int],
) -> None:
    """((value - zero in) * multiplier + 2**(shift - 1)) >> shift, + zero out."""
    graph.tensor(target)
    factor, down = np.atleast_1d(multiplier), np.atleast_1d(shift)
    factor, down = np.broadcast_arrays(factor, down)
    if np.ptp(factor) == 0 and np.ptp(down) == 0:
        factor, down = factor[:1], down[:1]
    inputs = (
        source,
        graph.constant(f"{target.name}@multiplier", factor.astype(np.int32)),
        graph.constant(f"{target.name}@shift", down.astype(np.int8)),
        graph.constant(f"{target.name}@zero in", np.array(zeros[:1], graph.tensors[source].dtype)),
        graph.constant(f"{target.name}@zero out", np.array(zeros[1:], target.dtype)),
    )
    options = [True, "RoundingMode.SINGLE_ROUND", factor.size > 1, False, False]
    graph.node(name, "RESCALE", inputs, target.name, options)


def take(
    graph: Plan,
    name: str,
    source: str,
    output: str,
    start: tuple[int, ...],
    size: tuple[int, ...],
) -> str:
    """A part of a tensor, from `start`, of `size`; its name."""
    sizes = (
        graph.constant(f"{output}@start", np.array(start, np.int64), dtype="shape"),
        graph.constant(f"{output}@size", np.array(size, np.int64), dtype="shape"),
    )
    graph.tensor(Tensor(output, size))
    graph.node(name, "SLICE", (source, *sizes), output)
    return output
