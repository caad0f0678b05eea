"""Values of a program, how accumulators become int8, and what every operation has."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

DType = Literal["float32", "int8", "int32"]
Int8s = NDArray[np.int8]
Int32s = NDArray[np.int32]
Floats = NDArray[np.float32]

BYTES: dict[DType, int] = {"float32": 4, "int8": 1, "int32": 4}


@dataclass(frozen=True)
class Value:
    """A tensor of a program.

    Attributes:
        name: Unique in the program.
        shape: Without the batch axis; images are [height, width, channels], a series is an image
            of height 1.
        dtype: Of its elements.
        scale: Of int8 values: real = scale * (stored - zero).
        zero: Of int8 values.
    """

    name: str
    shape: tuple[int, ...]
    dtype: DType
    scale: float = 0.0
    zero: int = 0

    @property
    def size(self) -> int:
        """Elements."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def bytes(self) -> int:
        """Bytes of its elements."""
        return self.size * BYTES[self.dtype]


@dataclass(frozen=True, eq=False)
class Requant:
    """From int32 accumulators to int8: clip(rint(float32(acc) * scale) + zero, low, high).

    Both the conversion of `acc` and the product are rounded to float32, rint is half to even:
    what ONNX Runtime's integer kernels do. Where `exact`, for every accumulator that the layer
    can reach, the same comes out of integers alone:
    clip(((acc * multiplier + 2**(shift - 1)) >> shift) + zero, low, high), an arithmetic shift of
    a 64-bit product (`edge.quantize.portable` proves it when the scale is chosen).

    Attributes:
        scale: float32 [channels], or [1] for all.
        multiplier: int32 [channels] or [1], each in [1, 2**31 - 1].
        shift: uint8 [channels] or [1], each in [33, 62].
        exact: bool [channels] or [1].
        zero: Zero point of the result.
        low: Least result: -128, or what a folded Relu or Clip leaves.
        high: Greatest result.
    """

    scale: Floats
    multiplier: Int32s
    shift: NDArray[np.uint8]
    exact: NDArray[np.bool_]
    zero: int
    low: int = -128
    high: int = 127


@dataclass(frozen=True, eq=False)
class Operation:
    """One step of a program.

    Attributes:
        name: The ONNX node it comes from.
        inputs: Names of the values it reads, in order.
        output: Name of the value it makes.
    """

    name: str
    inputs: tuple[str, ...]
    output: str
