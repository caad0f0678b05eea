"""Operations on int8, and the two bridges between int8 and float32."""

from dataclasses import dataclass, field

import numpy as np

from edge.program.values import Floats, Int8s, Int32s, Operation, Requant


@dataclass(frozen=True, eq=False)
class Quantize(Operation):
    """float32 -> int8: clip(rint(x / scale) + zero, low, high); x is never NaN.

    Scale and zero are the output's; the quotient is rounded to float32, rint is half to even.
    """

    low: int = -128
    high: int = 127


@dataclass(frozen=True, eq=False)
class Dequantize(Operation):
    """int8 -> float32: float32(x - zero) * scale, both the input's."""


@dataclass(frozen=True, eq=False)
class Dense(Operation):
    """acc[n] = bias[n] + sum over k of weights[n, k] * (x[k] - zero of x), then requantised.

    An input [rows, K] gives [rows, N]. Without `requant` the result is float32:
    float32(acc) * scale[n].

    Attributes:
        weights: int8 [N, K], within [-127, 127], zero point 0.
        bias: int32 [N], as in the graph: the input's zero point is not folded in.
        requant: How the result becomes int8; None when it is float32.
        scale: float32 [N], when it is float32; else empty.
    """

    weights: Int8s
    bias: Int32s
    requant: Requant | None
    scale: Floats = field(default_factory=lambda: np.zeros(0, np.float32))

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one row of the input."""
        return int(self.weights.size)


@dataclass(frozen=True, eq=False)
class Conv(Operation):
    """Convolution of an image [H, W, C]: as `Dense`, over the window of every output place.

    Elements of the padding count as the input's zero point, that is as 0 in the sum.

    Attributes:
        weights: int8 [out, KH, KW, C // groups].
        bias: int32 [out].
        requant: As for `Dense`, never None.
        stride: Down and across.
        dilation: Down and across.
        pad: Top, left, bottom, right.
        groups: 1, or C for a depthwise convolution, or any divisor of both C and out.
    """

    weights: Int8s
    bias: Int32s
    requant: Requant
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    pad: tuple[int, int, int, int] = (0, 0, 0, 0)
    groups: int = 1


@dataclass(frozen=True, eq=False)
class MaxPool(Operation):
    """Greatest int8 of every window of an image; padding is never the greatest.

    Scale and zero are those of the input.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    pad: tuple[int, int, int, int] = (0, 0, 0, 0)


@dataclass(frozen=True, eq=False)
class AveragePool(Operation):
    """Mean of every window of an image, as ONNX Runtime's two integer kernels take it.

    With `requant`: acc = sum over the window of (x - zero of x), the padding left out; then
    `requant` with the one scale of that window's count: scale[count - 1], multiplier[count - 1] and
    so on, where scale[n - 1] = float32(float32(scale of x) / float32(float32(scale of y) *
    float32(n))). ONNX Runtime does so where the window is the whole image.

    Without: sum = ((0 + float32(x[0] - zero of x) * scale of x) + ...) in float32 over the window's
    elements in the order KH, KW, the padding left out; then
    clip(rint(((sum / float32(count)) / scale of y) + float32(zero of y)), low, high), every step
    rounded to float32: the zero point is added before rounding, which decides its ties.

    With `count_pad` every window's count is the whole kernel's.

    Attributes:
        requant: [kernel elements]: one factor for every count of elements; or [1], where every
            window has the same count; or None.
        low: Least result without `requant`.
        high: Greatest result without `requant`.
    """

    kernel: tuple[int, int]
    requant: Requant | None
    stride: tuple[int, int] = (1, 1)
    pad: tuple[int, int, int, int] = (0, 0, 0, 0)
    count_pad: bool = False
    low: int = -128
    high: int = 127


@dataclass(frozen=True)
class Factors:
    """Integers that make an int8 sum: clip((a * left + b * right + offset) >> shift, low, high).

    They hold the zero points and the rounding; every intermediate fits 32 bits, the shift is
    arithmetic.

    Attributes:
        left: Of the stored a.
        right: Of the stored b.
        offset: Added to both products.
        shift: Bits, 1 to 30.
    """

    left: int
    right: int
    offset: int
    shift: int


@dataclass(frozen=True, eq=False)
class Add(Operation):
    """Sum of two int8 values of one shape, as ONNX Runtime's QLinearAdd takes it in float32.

    clip(rint(float32(a * left + float32(b * right + fixed))), low, high), stored a and b: product
    and sum of one step are taken in float64 and rounded to float32 once, as a fused
    multiply-add does. Where there are `factors`, the same comes out of them for all 65,536 pairs,
    which has been counted.

    Attributes:
        left: float32(scale of a / scale of y).
        right: float32(scale of b / scale of y).
        fixed: float32: zero of y - (left * zero of a + right * zero of b).
        low: Least result, as in `Requant`.
        high: Greatest result.
        factors: The same in integers; None where there are none.
    """

    left: float
    right: float
    fixed: float
    low: int = -128
    high: int = 127
    factors: Factors | None = None


@dataclass(frozen=True, eq=False)
class Table(Operation):
    """y = table[x + 128], element by element: Relu, Sigmoid, Tanh, a change of scale, or several.

    Attributes:
        table: int8 [256].
        kind: What it stands for, such as `Sigmoid`.
    """

    table: Int8s
    kind: str


@dataclass(frozen=True, eq=False)
class Concat(Operation):
    """Inputs side by side along one axis of the value, each through its table where it has one.

    Attributes:
        axis: Of the shape without the batch, from 0.
        tables: int8 [256] for every input, None where its scale is the output's already.
    """

    axis: int
    tables: tuple[Int8s | None, ...]


@dataclass(frozen=True, eq=False)
class Softmax(Operation):
    """Softmax of int8 over the last axis, as ONNX Runtime's QLinearSoftmax takes it.

    e[i] = table[255 + x[i] - max(x)]; sum = (0 + e[0]) + e[1] + ..., from first to last; then
    y[i] = clip(rint((e[i] * levels) / sum) + zero of y, -128, 127), every step rounded to float32.

    Attributes:
        table: float32 [256]: exp(scale of x * (place - 255)), scaled up to use the range of float32
            without a row's sum leaving it.
        levels: Whole part of 1 / scale of y, as a whole number.
    """

    table: Floats
    levels: int


@dataclass(frozen=True, eq=False)
class Reshape(Operation):
    """The same elements in row-major order, another shape; any dtype. No data moves."""


@dataclass(frozen=True, eq=False)
class Transpose(Operation):
    """Axis i of the output is axis order[i] of the input; any dtype."""

    order: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class ArgMax(Operation):
    """int32: place of the first greatest element along the last axis; int8 or float32 in."""
