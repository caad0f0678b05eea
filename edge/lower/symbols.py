"""What an ONNX value stands for while a graph is lowered.

A value's elements lie somewhere in a value of the program, in any order: a view says where each
one is. Transposes, reshapes, slices and gathers so only make other views; data moves when an
operation needs its elements in an order of its own, and not at all when two moves undo each other.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge.program import Floats

Places: TypeAlias = NDArray[np.int64]
Array: TypeAlias = NDArray[Any]


@dataclass(frozen=True, eq=False)
class View:
    """Elements of a value of the program.

    Attributes:
        name: Of that value.
        places: int64 of the ONNX value's shape without the batch: where in the program's value,
            counted in row-major order, each element is.
    """

    name: str
    places: Places

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the ONNX value, without the batch axis."""
        return self.places.shape

    def same_places(self, other: "View") -> bool:
        """Whether both hold their elements in one order."""
        return np.array_equal(self.places, other.places)


class Real(View):
    """Real numbers held as float32; truth values as 0.0 and 1.0."""


class Coded(View):
    """Real numbers held as int8 by the scale and zero of the program's value."""


class Whole(View):
    """Whole numbers held as int32."""


class NanMask(View):
    """Which elements of a float32 value are NaN."""


@dataclass(frozen=True)
class Grid:
    """How real numbers become int8.

    Attributes:
        scale: A float32.
        zero: Zero point among int8; that of uint8 less 128.
        unsigned: Whether the graph holds uint8.
    """

    scale: float
    zero: int
    unsigned: bool = False


@dataclass(frozen=True, eq=False)
class Known:
    """A constant that no quantisation is known of."""

    array: Array


@dataclass(frozen=True, eq=False)
class Weights:
    """A dequantised constant.

    Attributes:
        stored: Integers.
        scale: float32, one or one for every place along the axis.
        axis: The axis the scales are along.
        zero: Zero point; 0 for weights of layers.
    """

    stored: Array
    scale: Floats
    axis: int
    zero: int = 0

    @property
    def array(self) -> Floats:
        """The float32 numbers they stand for."""
        shape = [-1 if axis == self.axis else 1 for axis in range(self.stored.ndim)]
        scale = self.scale.reshape(shape) if self.scale.size > 1 else self.scale.reshape(())
        steps = (self.stored.astype(np.int64) - self.zero).astype(np.float32)
        return np.asarray(steps * scale, np.float32)


@dataclass(frozen=True, eq=False)
class Elementwise:
    """A function of every element of an int8 value by itself.

    Attributes:
        source: That value.
        function: float32 -> float32, rounded as ONNX Runtime does.
        kind: What it is, such as `Sigmoid`.
        real: Makes it in float32.
    """

    source: Coded
    function: Callable[[Floats], Floats]
    kind: str
    real: Callable[[], Real]

    @property
    def shape(self) -> tuple[int, ...]:
        """Without the batch axis."""
        return self.source.shape


@dataclass(frozen=True, eq=False)
class Pending:
    """What an operation on int8 values makes, before it is known whether it becomes int8.

    Attributes:
        shape: Without the batch axis.
        coded: Makes it in int8: of a grid, the least and the greatest result, and the name to give.
        real: Makes it in float32.
        low: Least real number that a Relu or Clip has left.
        high: The greatest.
    """

    shape: tuple[int, ...]
    coded: Callable[[Grid, int, int, str], Coded]
    real: Callable[[], Real]
    low: float = -np.inf
    high: float = np.inf


@dataclass(frozen=True, eq=False)
class Clipped:
    """A float32 value within bounds.

    Attributes:
        source: Before that.
        low: Least.
        high: Greatest.
        real: Makes it in float32.
    """

    source: Real
    low: float
    high: float
    real: Callable[[], Real]

    @property
    def shape(self) -> tuple[int, ...]:
        """Without the batch axis."""
        return self.source.shape


Symbol: TypeAlias = View | Known | Weights | Elementwise | Pending | Clipped


def whole(name: str, shape: tuple[int, ...]) -> Places:
    """Places of a value of the program that is laid out as the ONNX value is."""
    return np.arange(int(np.prod(shape, dtype=np.int64))).reshape(shape)
