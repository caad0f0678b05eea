"""Trees of scikit-learn as arrays: every split exact in float32, every leaf on one grid.

A learner compares a float32 input with a float64 threshold and adds leaves in float64. A threshold
is rounded down to float32, which no input can tell. Leaves are rounded to multiples of one power
of two, so fine that a float32 still holds every sum of them exactly: then the sum is the same in
any order, on any machine and in integers, and `Tables.error` bounds how far it is from the
learner's.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firnline.errors import HandshakeError
from models.float_onnx import Graph

FloatArray = NDArray[np.float64]

_EXACT = 1 << 24
_LEAST_EXPONENT = -100


@dataclass(frozen=True)
class Tree:
    """One tree; nodes are numbered from its root, 0.

    Attributes:
        feature: int64 [nodes]: column of the input; -1 at a leaf.
        threshold: float64 [nodes]: left is x <= threshold.
        left: int64 [nodes].
        right: int64 [nodes].
        missing_left: bool [nodes]: where a missing value goes.
        leaf: float64 [nodes, outputs]; 0 but at leaves.
    """

    feature: NDArray[np.int64]
    threshold: FloatArray
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    missing_left: NDArray[np.bool_]
    leaf: FloatArray


@dataclass(frozen=True)
class Tables:
    """Trees and what is added to their sum, on a grid.

    Attributes:
        trees: Leaves are multiples of `unit`.
        base: float64 [outputs], likewise.
        unit: A power of two.
        error: float64 [outputs]: no sum is further from the sum of the leaves as they were.
    """

    trees: tuple[Tree, ...]
    base: FloatArray
    unit: float
    error: FloatArray


def from_arrays(
    tree: Any,
    leaf: FloatArray,
    columns: NDArray[np.int64] | None = None,
) -> Tree:
    """A tree of `sklearn.tree`.

    Args:
        tree: Its `tree_`.
        leaf: What a leaf adds, float64 [nodes, outputs].
        columns: The input's columns that the tree was given; None for all.
    """
    inner = tree.children_left >= 0
    feature = tree.feature if columns is None else columns[np.where(inner, tree.feature, 0)]
    missing = getattr(tree, "missing_go_to_left", np.zeros(len(inner)))
    return Tree(
        feature=np.where(inner, feature, -1).astype(np.int64),
        threshold=np.where(inner, tree.threshold, 0.0),
        left=np.where(inner, tree.children_left, 0).astype(np.int64),
        right=np.where(inner, tree.children_right, 0).astype(np.int64),
        missing_left=inner & np.asarray(missing, np.bool_),
        leaf=np.where(inner[:, None], 0.0, leaf),
    )


def from_histogram(nodes: NDArray[Any], output: int, outputs: int) -> Tree:
    """A tree of histogram gradient boosting, which adds to one of several outputs.

    Raises:
        HandshakeError: E70, it splits on categories.
    """
    inner = nodes["is_leaf"] == 0
    if (nodes["is_categorical"][inner] != 0).any():
        raise HandshakeError(
            "E70",
            found="splits on categories",
            where="a tree of histogram gradient boosting",
            mend="encode categories as columns of 0 and 1",
        )
    leaf = np.zeros((len(nodes), outputs))
    leaf[:, output] = np.where(inner, 0.0, nodes["value"])
    return Tree(
        feature=np.where(inner, nodes["feature_idx"], -1).astype(np.int64),
        threshold=np.where(inner, nodes["num_threshold"], 0.0),
        left=np.where(inner, nodes["left"], 0).astype(np.int64),
        right=np.where(inner, nodes["right"], 0).astype(np.int64),
        missing_left=inner & (nodes["missing_go_to_left"] != 0),
        leaf=leaf,
    )


def on_grid(trees: Sequence[Tree], base: FloatArray) -> Tables:
    """Leaves and base as multiples of the finest power of two that keeps every sum exact.

    Args:
        trees: In the order of the learner.
        base: Added to their sum, float64 [outputs].
    """
    sizes = [np.abs(tree.leaf).max(axis=0) for tree in trees]
    greatest = float((np.abs(base) + np.sum(sizes, axis=0)).max())
    # Rounding adds at most half a unit for every tree, and for the base.
    exponent = np.ceil(np.log2(max(greatest, 1e-30) / (_EXACT - len(trees) - 1)))
    unit = float(2.0 ** max(int(exponent), _LEAST_EXPONENT))
    error = np.abs(_rounded(base, unit) - base)
    made = []
    for tree in trees:
        leaf = _rounded(tree.leaf, unit)
        error = error + np.abs(leaf - tree.leaf).max(axis=0)
        made.append(Tree(**{**vars(tree), "leaf": leaf}))
    # The learner's own sum is rounded too, after every addition in float64.
    error = error + greatest * len(trees) * np.finfo(np.float64).eps
    return Tables(tuple(made), _rounded(base, unit), unit, error)


def sums(tables: Tables, rows: NDArray[np.float32]) -> FloatArray:
    """What the tables add up to for rows [rows, columns]: float64 [rows, outputs], exact."""
    total = np.tile(tables.base, (len(rows), 1))
    places = np.arange(len(rows))
    for tree in tables.trees:
        node = np.zeros(len(rows), np.int64)
        while (inner := tree.feature[node] >= 0).any():
            given = rows[places, np.maximum(tree.feature[node], 0)]
            to_left = (given <= tree.threshold[node]) | (np.isnan(given) & tree.missing_left[node])
            node = np.where(inner, np.where(to_left, tree.left[node], tree.right[node]), node)
        total += tree.leaf[node]
    return total


def add_to(graph: Graph, value: str, tables: Tables) -> str:
    """Put the trees into a graph: their sum, [rows, outputs]."""
    trees = tables.trees
    sizes = [len(tree.feature) for tree in trees]
    owner = np.repeat(np.arange(len(trees)), sizes)
    place = np.concatenate([np.arange(size) for size in sizes])
    inner = _joined(trees, lambda tree: tree.feature) >= 0
    leaf = _joined(trees, lambda tree: tree.leaf)
    outputs = leaf.shape[1]
    ends = np.flatnonzero(~inner)
    base = {"base_values": _floats(tables.base)} if tables.base.any() else {}
    return graph.trees(
        value,
        outputs,
        nodes_treeids=owner.tolist(),
        nodes_nodeids=place.tolist(),
        nodes_featureids=np.maximum(_joined(trees, lambda tree: tree.feature), 0).tolist(),
        nodes_modes=np.where(inner, "BRANCH_LEQ", "LEAF").tolist(),
        nodes_values=_floats(_at_most(_joined(trees, lambda tree: tree.threshold))),
        nodes_truenodeids=_joined(trees, lambda tree: tree.left).tolist(),
        nodes_falsenodeids=_joined(trees, lambda tree: tree.right).tolist(),
        nodes_missing_value_tracks_true=_joined(trees, lambda tree: tree.missing_left)
        .astype(np.int64)
        .tolist(),
        target_treeids=np.repeat(owner[ends], outputs).tolist(),
        target_nodeids=np.repeat(place[ends], outputs).tolist(),
        target_ids=np.tile(np.arange(outputs), len(ends)).tolist(),
        target_weights=_floats(leaf[ends].ravel()),
        **base,
    )


def _at_most(thresholds: FloatArray) -> NDArray[np.float32]:
    """The greatest float32 not above each threshold: no float32 can tell them apart."""
    with np.errstate(over="ignore"):
        rounded = thresholds.astype(np.float32)
    lower = np.nextafter(rounded, np.float32(-np.inf))
    return np.where(rounded > thresholds, lower, rounded)


def _rounded(values: FloatArray, unit: float) -> FloatArray:
    # The sum makes 0.0 of -0.0.
    return np.rint(values / unit) * unit + 0.0


def _joined(trees: Iterable[Tree], of: Callable[[Tree], NDArray[Any]]) -> NDArray[Any]:
    return np.concatenate([of(tree) for tree in trees])


def _floats(values: NDArray[Any]) -> list[float]:
    return [float(value) for value in values]
