"""Operations on float32: what comes before the first int8 value, and after the last.

Floats are IEEE 754 binary32, round to nearest even, subnormals kept, products and sums rounded
one by one (never fused), sums taken from the first element to the last.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edge.program.values import Floats, Int32s, Operation

FloatKind = Literal["add", "sub", "mul", "div", "min", "max", "greater", "equal"]


@dataclass(frozen=True, eq=False)
class FloatBinary(Operation):
    """float32, element by element: two values, or one value and a constant.

    Shapes broadcast as in NumPy. `greater` and `equal` give 1.0 or 0.0.

    Attributes:
        kind: The operation.
        constant: float32 with the rank of the result, when one input is constant; else None.
        constant_first: The constant is the left operand.
    """

    kind: FloatKind
    constant: Floats | None = None
    constant_first: bool = False


@dataclass(frozen=True, eq=False)
class FloatUnary(Operation):
    """float32, element by element.

    `relu`, `neg`, `abs`, `sqrt` (correctly rounded), `exp`, `sigmoid`, `tanh`: the last three by
    the polynomials of `edge.reference`, which every target follows step by step.
    """

    kind: Literal["relu", "neg", "abs", "sqrt", "exp", "sigmoid", "tanh"]


@dataclass(frozen=True, eq=False)
class FloatImpute(Operation):
    """fill where x is NaN, else x; fill is float32 with x's shape or broadcast to it."""

    fill: Floats


@dataclass(frozen=True, eq=False)
class FloatGather(Operation):
    """Elements of the last axis at `places`, in that order."""

    places: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class FloatDense(Operation):
    """A layer kept in float: y[n] = ((0 + w[n, 0] * x[0]) + w[n, 1] * x[1]) + ... + bias[n].

    Attributes:
        weights: float32 [N, K].
        bias: float32 [N].
    """

    weights: Floats
    bias: Floats


@dataclass(frozen=True, eq=False)
class FloatConv(Operation):
    """A convolution kept in float: as `FloatDense` over a window in the order KH, KW, C.

    Attributes:
        weights: float32 [out, KH, KW, C // groups].
        bias: float32 [out].
    """

    weights: Floats
    bias: Floats
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    pad: tuple[int, int, int, int] = (0, 0, 0, 0)
    groups: int = 1


@dataclass(frozen=True, eq=False)
class FloatPool(Operation):
    """Pooling kept in float: greatest, or (sum over the window) / float32(count).

    Greatest is the first of equal ones, in the order KH, KW; a NaN is greater than any number.
    """

    kind: Literal["max", "mean"]
    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    pad: tuple[int, int, int, int] = (0, 0, 0, 0)
    count_pad: bool = False


@dataclass(frozen=True, eq=False)
class FloatReduce(Operation):
    """Over the last axis, which stays with length 1: sum, or sum / float32(count), or max."""

    kind: Literal["sum", "mean", "max"]


@dataclass(frozen=True, eq=False)
class FloatSoftmax(Operation):
    """Over the last axis: e = exp(x - max), y = e / sum(e), with `FloatUnary`'s exp.

    When x comes straight out of `Dequantize`, targets may take exp from a table of 256 entries
    that this same exp has filled.
    """


@dataclass(frozen=True, eq=False)
class FloatConcat(Operation):
    """float32 values side by side along one axis of the value."""

    axis: int


@dataclass(frozen=True, eq=False)
class Trees(Operation):
    """Sum of the leaves that an input [columns] float32 reaches in every tree: float32 [outputs].

    From a tree's root: while `feature` is not negative, go `left` if x[feature] <= threshold
    (float32), or if it is NaN and `missing_left`; else `right`. Leaves are summed in tree order,
    starting from `base`.

    Attributes:
        roots: int32 [trees]: node of every tree's root.
        feature: int16 [nodes]; -1 at a leaf.
        threshold: float32 [nodes].
        left: int32 [nodes].
        right: int32 [nodes].
        missing_left: bool [nodes].
        leaf: float32 [nodes, outputs]; zero except at leaves.
        base: float32 [outputs].
    """

    roots: Int32s
    feature: NDArray[np.int16]
    threshold: Floats
    left: Int32s
    right: Int32s
    missing_left: NDArray[np.bool_]
    leaf: Floats
    base: Floats
