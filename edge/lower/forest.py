"""The trees of an ai.onnx.ml node: checked, their splits as `x <= threshold`, their votes summed.

Attributes are those of TreeEnsembleRegressor and TreeEnsembleClassifier, versions 1 to 3:
https://onnx.ai/onnx/operators/onnx_aionnxml_TreeEnsembleRegressor.html
"""

from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray
from onnx import numpy_helper

from edge.leaves import at_most, below
from edge.lower.graph import Node
from edge.program import Floats, Int32s
from firnline.errors import HandshakeError

_LEAF = "LEAF"
_MODES = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", _LEAF)
_PER_NODE = ("treeids", "nodeids", "featureids", "truenodeids", "falsenodeids",
             "missing_value_tracks_true")  # fmt: skip
_MOST_COLUMNS = 1 << 15


@dataclass(frozen=True)
class Forest:
    """Trees as `edge.program.Trees` holds them, without what is added to their sum.

    Attributes:
        roots: int32 [trees].
        feature: int16 [nodes]; -1 at a leaf.
        threshold: float32 [nodes].
        left: int32 [nodes].
        right: int32 [nodes].
        missing_left: bool [nodes].
        leaf: float32 [nodes, outputs].
        voted: bool [nodes, outputs]: which outputs a leaf votes for.
    """

    roots: Int32s
    feature: NDArray[np.int16]
    threshold: Floats
    left: Int32s
    right: Int32s
    missing_left: NDArray[np.bool_]
    leaf: Floats
    voted: NDArray[np.bool_]


def forest(node: Node, votes: str, outputs: int, columns: int) -> Forest:
    """Read the trees of a node.

    Args:
        node: TreeEnsembleRegressor or TreeEnsembleClassifier.
        votes: What its attributes of leaves begin with: `target` or `class`.
        outputs: Targets or classes.
        columns: Of the input.

    Raises:
        HandshakeError: E70, splits of a kind that has no table; E71, the trees are broken.
    """
    known = _nodes(node, columns)
    places = {key: place for place, key in enumerate(_keys(known["treeids"], known["nodeids"]))}
    if len(places) != len(known["nodeids"]) or not places:
        broken(node, "no nodes, or two of one id")
    modes, values = known["modes"], known["values"]
    inner = modes != _LEAF
    true = _children(node, places, known, "truenodeids")
    false = _children(node, places, known, "falsenodeids")
    above = (modes == "BRANCH_GTE") | (modes == "BRANCH_GT")
    strict = (modes == "BRANCH_LT") | (modes == "BRANCH_GTE")
    threshold = np.where(strict, below(values), at_most(values))
    leaf, voted = _votes(node, votes, outputs, places, inner)
    made = Forest(
        roots=_roots(node, known["treeids"], inner, true, false),
        feature=np.where(inner, known["featureids"], -1).astype(np.int16),
        threshold=np.where(inner, threshold, 0).astype(np.float32),
        left=np.where(above, false, true).astype(np.int32),
        right=np.where(above, true, false).astype(np.int32),
        missing_left=inner & ((known["missing_value_tracks_true"] != 0) ^ above),
        leaf=leaf,
        voted=voted,
    )
    _reached_once(node, made)
    return made


def numbers(node: Node, name: str) -> NDArray[Any]:
    """An attribute of real numbers, float32, or float64 where it is held as a tensor."""
    held = node.attributes.get(f"{name}_as_tensor")
    if held is not None:
        return np.asarray(numpy_helper.to_array(held)).reshape(-1)
    return np.asarray(node.attributes.get(name, ()), np.float32)


def unsupported(node: Node, found: str, mend: str) -> NoReturn:
    """Raise E70: trees that have no table."""
    raise HandshakeError(
        "E70", found=f"{node.operator}: {found}", where=f"node {node.name!r}", mend=mend
    )


def broken(node: Node, found: str) -> NoReturn:
    """Raise E71: trees that are none."""
    mend = "export the model anew: its trees contradict the definition of the operator"
    raise HandshakeError(
        "E71", found=f"{node.operator}: {found}", where=f"node {node.name!r}", mend=mend
    )


def _nodes(node: Node, columns: int) -> dict[str, NDArray[Any]]:
    """The attributes of nodes, each as long as there are nodes."""
    modes = np.array([_text(mode) for mode in node.attributes.get("nodes_modes", ())])
    if unknown := sorted(set(modes.tolist()) - set(_MODES)):
        unsupported(node, f"splits of mode {', '.join(unknown)}", "encode categories as 0 and 1")
    known: dict[str, NDArray[Any]] = {name: _numbers(node, f"nodes_{name}") for name in _PER_NODE}
    if not known["missing_value_tracks_true"].size:
        known["missing_value_tracks_true"] = np.zeros(len(modes), np.int64)
    known |= {"modes": modes, "values": numbers(node, "nodes_values")}
    if len({len(held) for held in known.values()}) != 1:
        broken(node, "attributes of nodes that differ in length")
    split = known["featureids"][modes != _LEAF]
    if split.size and not 0 <= split.min() <= split.max() < min(columns, _MOST_COLUMNS):
        broken(node, f"splits on columns that an input of {columns} does not have")
    return known


def _numbers(node: Node, name: str) -> NDArray[np.int64]:
    return np.asarray(node.attributes.get(name, ()), np.int64)


def _keys(trees: NDArray[np.int64], nodes: NDArray[np.int64]) -> list[tuple[int, int]]:
    return list(zip(trees.tolist(), nodes.tolist(), strict=True))


def _children(
    node: Node,
    places: dict[tuple[int, int], int],
    known: dict[str, NDArray[Any]],
    side: str,
) -> NDArray[np.int64]:
    """Place of every split's child; 0 for leaves."""
    keys = _keys(known["treeids"], known[side])
    inner = known["modes"] != _LEAF
    found = [places.get(key, -1) if split else 0 for key, split in zip(keys, inner, strict=True)]
    if -1 in found:
        broken(node, "a split whose child is missing")
    return np.array(found, np.int64)


def _roots(
    node: Node,
    trees: NDArray[np.int64],
    inner: NDArray[np.bool_],
    true: NDArray[np.int64],
    false: NDArray[np.int64],
) -> Int32s:
    """The node of every tree that is nobody's child, trees as they first appear."""
    children = np.zeros(len(trees), np.int64)
    np.add.at(children, true[inner], 1)
    np.add.at(children, false[inner], 1)
    roots = np.flatnonzero(children == 0)
    if children.max(initial=0) > 1 or len(set(trees[roots].tolist())) != len(roots):
        broken(node, "nodes with two parents, or trees with two roots")
    order = {int(tree): place for place, tree in reversed(list(enumerate(trees.tolist())))}
    return np.array(sorted(roots, key=lambda root: order[int(trees[root])]), np.int32)


def _votes(
    node: Node,
    votes: str,
    outputs: int,
    places: dict[tuple[int, int], int],
    inner: NDArray[np.bool_],
) -> tuple[Floats, NDArray[np.bool_]]:
    """What every leaf adds to every output, and which outputs it names."""
    trees, nodes = _numbers(node, f"{votes}_treeids"), _numbers(node, f"{votes}_nodeids")
    ids, weights = _numbers(node, f"{votes}_ids"), numbers(node, f"{votes}_weights")
    if len({len(trees), len(nodes), len(ids), len(weights)}) != 1:
        broken(node, "attributes of leaves that differ in length")
    leaf = np.zeros((len(inner), outputs), np.float64)
    voted = np.zeros((len(inner), outputs), np.bool_)
    if len(ids) and not 0 <= ids.min() <= ids.max() < outputs:
        broken(node, f"votes for more than {outputs} outputs")
    for key, place, weight in zip(_keys(trees, nodes), ids, weights, strict=True):
        where = places.get(key, -1)
        if where < 0 or inner[where]:
            broken(node, "votes of a node that is no leaf")
        leaf[where, place] += weight
        voted[where, place] = True
    return leaf.astype(np.float32), voted


def _reached_once(node: Node, made: Forest) -> None:
    """Nobody has two parents, so what no root leads to lies on a circle."""
    seen, front = 0, made.roots
    while front.size:
        seen += front.size
        inner = front[made.feature[front] >= 0]
        front = np.concatenate([made.left[inner], made.right[inner]])
    if seen != len(made.feature):
        broken(node, "splits that go round in a circle")


def _text(mode: Any) -> str:
    return mode.decode() if isinstance(mode, bytes) else str(mode)
