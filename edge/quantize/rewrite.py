"""Rewriting a graph node by node until nothing changes."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from edge.quantize.graph import Constant, Net, Shape, unused


@dataclass(frozen=True)
class Rewrite:
    """Nodes in the place of others.

    Attributes:
        removed: Names of the nodes that go; only the last one's output may be read by others.
        nodes: What comes in their place, in order.
        constants: What the new nodes read.
    """

    removed: tuple[str, ...]
    nodes: tuple[Any, ...]
    constants: Mapping[str, Constant] = field(default_factory=dict)


class View:
    """A graph with what rules ask of it."""

    def __init__(self, net: Net) -> None:
        self.net = net
        self._makers = net.makers()
        self._readers = net.readers()

    def maker(self, value: str) -> Any | None:
        """The node that makes a value."""
        return self._makers.get(value)

    def sole_reader(self, value: str) -> Any | None:
        """The node that alone reads a value, where it is no output of the graph."""
        readers = self._readers.get(value, [])
        return readers[0] if len(readers) == 1 and value not in self.net.outputs else None

    def readers(self, value: str) -> list[Any]:
        """Nodes that read a value."""
        return self._readers.get(value, [])

    def constant(self, name: str) -> Constant | None:
        """A constant's value; None for what is computed."""
        return self.net.constants.get(name)

    def shape(self, value: str) -> Shape:
        """A value's shape with a batch of 1; empty where it is not known."""
        return tuple(self.net.shapes.get(value, ()))

    def fresh(self, name: str) -> str:
        """A name for a new value or constant."""
        return unused(name, {*self.net.constants, *self.net.shapes, *self._makers})


Rule: TypeAlias = Callable[[View, Any], Rewrite | None]


def rewritten(net: Net, rules: Sequence[Rule], inferred: Callable[[Net], Net]) -> Net:
    """The graph after rules have been applied wherever they apply, again and again.

    Args:
        net: With shapes.
        rules: Tried in order on every node; the first that applies is taken.
        inferred: Finds shapes of what is new.
    """
    while True:
        view, changes = View(net), []
        touched: set[str] = set()
        for node in net.nodes:
            found = next((made for rule in rules if (made := rule(view, node))), None)
            # What another rewrite of this round has touched waits for the next one.
            if found is not None and not touched.intersection(_near(view, found)):
                changes.append(found)
                touched |= _near(view, found)
        if not changes:
            return net
        net = inferred(_applied(net, changes))


def _near(view: View, change: Rewrite) -> set[str]:
    """Names of a rewrite's nodes, and of those around them."""
    names = set(change.removed)
    for node in (node for node in view.net.nodes if node.name in change.removed):
        names |= {reader.name for value in node.output for reader in view.readers(value)}
        names |= {maker.name for value in node.input if (maker := view.maker(value)) is not None}
    return names


def _applied(net: Net, changes: Iterable[Rewrite]) -> Net:
    place = {node.name: index for index, node in enumerate(net.nodes)}
    instead: dict[int, tuple[Any, ...]] = {}
    constants: dict[str, Constant] = {}
    for change in changes:
        places = sorted(place[name] for name in change.removed)
        instead |= dict.fromkeys(places[:-1], ()) | {places[-1]: change.nodes}
        constants |= change.constants
    nodes = [made for index, node in enumerate(net.nodes) for made in instead.get(index, (node,))]
    return net.with_nodes(nodes, constants)
