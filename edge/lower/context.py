"""What handlers of operators share: the graph, the builder, and what every value stands for."""

from collections.abc import Callable
from functools import cache
from typing import Any, NoReturn, TypeVar

import numpy as np
from numpy.typing import NDArray

from edge.lower.build import Builder
from edge.lower.graph import Graph, Node
from edge.lower.symbols import Coded, Elementwise, Grid, Known, Real, Symbol, Weights
from firnline.errors import HandshakeError

T = TypeVar("T")


class Context:
    """A graph being lowered.

    Attributes:
        graph: It.
        builder: The program so far.
        symbols: ONNX value -> what it stands for.
        unsigned: Values of the program that are uint8 in the graph.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.builder = Builder()
        self.symbols: dict[str, Symbol] = {
            name: Known(array) for name, array in graph.constants.items()
        }
        self.unsigned: set[str] = set()

    def real(self, node: Node, place: int) -> Real:
        """An input in float32."""
        return self.builder.real(self.symbols[node.inputs[place]], node.name)

    def constant(self, node: Node, place: int) -> NDArray[Any] | None:
        """An input's array if it is constant, else None; None also where it is left out."""
        symbol = self.symbols.get(node.input(place))
        return symbol.array if isinstance(symbol, Known | Weights) else None

    def grid(self, coded: Coded) -> Grid:
        """How a value of the program holds its real numbers."""
        value = self.builder.values[coded.name]
        return Grid(value.scale, value.zero, coded.name in self.unsigned)

    def elementwise(self, symbol: Symbol) -> Elementwise | None:
        """A symbol as a function of one int8 value, if it is one."""
        if isinstance(symbol, Elementwise):
            return symbol
        if isinstance(symbol, Coded):
            real = once(lambda: self.builder.real(symbol, symbol.name))
            return Elementwise(symbol, lambda reals: reals, "Requantize", real)
        return None

    def int8(self, wanted: str, shape: tuple[int, ...], grid: Grid) -> str:
        """A new int8 value of a grid."""
        name = self.builder.value(wanted, shape, "int8", grid.scale, grid.zero)
        if grid.unsigned:
            self.unsigned.add(name)
        return name


def once(make: Callable[[], T]) -> Callable[[], T]:
    """The same function, computed at the first call only."""
    return cache(make)


def refuse(node: Node, found: str, mend: str) -> NoReturn:
    """Raise E20 for a node."""
    raise HandshakeError(
        "E20", found=f"{node.operator}: {found}", where=f"node {node.name!r}", mend=mend
    )


def unquantised(where: str, found: str) -> NoReturn:
    """Raise E21: a quantisation that no integer layer has."""
    raise HandshakeError(
        "E21",
        found=found,
        where=where,
        mend="quantise with firnline: weights int8 within [-127, 127] with zero point 0, one scale "
        "or one for every output channel; activations int8 by one scale; biases int32 at the "
        "product of both scales",
    )


def scalar(array: NDArray[Any]) -> float:
    """The one element of an array."""
    return float(np.asarray(array).reshape(-1)[0])
