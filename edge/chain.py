"""A chain of graphs that runs as one: which graph each stage is, what it takes, what it gives."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.session import integer_session
from firnline.contracts.handshake import FEATURES_INPUT

Values = dict[str, NDArray[Any]]
_BATCH_ROWS = 1024


@dataclass(frozen=True)
class Link:
    """One graph of a chain, as a manifest's `run` names it.

    Attributes:
        stage: The stage it computes.
        graph: Its file in the bundle.
        inputs: What it takes: `features`, and outputs of the graphs before it.
        outputs: What it gives.
    """

    stage: str
    graph: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        """The link as JSON."""
        return {
            "stage": self.stage,
            "graph": self.graph,
            "inputs": list(self.inputs),
            "outputs": list(self.outputs),
        }


def of_document(found: list[dict[str, Any]]) -> tuple[Link, ...]:
    """The chain that a manifest names; `edge.verify.parse_manifest` has checked its form."""
    return tuple(
        Link(link["stage"], link["graph"], tuple(link["inputs"]), tuple(link["outputs"]))
        for link in found
    )


def run(
    links: Sequence[Link], graphs: Mapping[str, bytes], features: NDArray[np.float32]
) -> Values:
    """Everything that a chain gives, by name.

    Args:
        links: In order.
        graphs: File -> ONNX bytes.
        features: Shape [rows, columns], at least one row.
    """
    sessions = [(link, integer_session(graphs[link.graph])) for link in links]
    batches: list[Values] = []
    for place in range(0, len(features), _BATCH_ROWS):
        known: Values = {FEATURES_INPUT: features[place : place + _BATCH_ROWS]}
        for link, session in sessions:
            given = {name: known[name] for name in link.inputs}
            names = list(link.outputs)
            known |= dict(zip(names, session.run(names, given), strict=True))
        batches.append(known)
    names = [name for link in links for name in link.outputs]
    return {name: np.concatenate([batch[name] for batch in batches]) for name in names}
