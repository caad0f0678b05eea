"""Forests and boosted trees of scikit-learn -> ONNX that decides as the learner does.

Decisions are taken on sums that are exact (see `models.forest_tables`), so that ONNX Runtime, the
integer reference and a microcontroller agree to the bit. They can differ from the learner's where
its float64 sums lie closer together than `Forest.error`; rows given to `to_onnx` are checked, and
those that lie so close are counted.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from firnline.errors import EvidenceError, HandshakeError
from models.float_onnx import FLOAT, INT64, Graph
from models.forest_tables import Tables, Tree, add_to, from_arrays, from_histogram, on_grid, sums

FEATURES = "features"

_AVERAGED = (ExtraTreesClassifier, ExtraTreesRegressor, RandomForestClassifier,
             RandomForestRegressor)  # fmt: skip
_SINGLE = (DecisionTreeClassifier, DecisionTreeRegressor)
_BOOSTED = (GradientBoostingClassifier, GradientBoostingRegressor)
_HISTOGRAM = (HistGradientBoostingClassifier, HistGradientBoostingRegressor)
_CLASSIFIERS = (ExtraTreesClassifier, RandomForestClassifier, DecisionTreeClassifier,
                GradientBoostingClassifier, HistGradientBoostingClassifier)  # fmt: skip
_IDENTITY_LOSSES = ("squared_error", "absolute_error", "quantile")


@dataclass(frozen=True)
class Forest:
    """A forest as ONNX, and how its decisions stand beside the learner's.

    Attributes:
        model: ONNX bytes: `features` [rows, columns] in; `score`, `flagged` and `path` out for an
            isolation forest, `probabilities` and `class` (a place in `classes`) for a classifier,
            `value` for a regressor.
        classes: Names of the classes.
        error: What the deciding sum can be away from the learner's, at most.
        rows: Rows that decisions were compared on.
        near: Rows so close to another decision that `error` cannot tell.
        differ: Rows, all of them near, that are decided differently.
    """

    model: bytes
    classes: tuple[str, ...]
    error: float
    rows: int
    near: int
    differ: int


def to_onnx(learner: Any, rows: NDArray[np.float32] | None = None, name: str = "forest") -> Forest:
    """Write a fitted learner as ONNX.

    Args:
        learner: IsolationForest; random forest, extra trees, gradient boosting, histogram gradient
            boosting or one tree, of classes or of values.
        rows: float32 [rows, columns] to compare decisions on; an isolation forest's threshold is
            put where it separates them as the learner does.
        name: Of the graph.

    Raises:
        HandshakeError: E70, the learner has no such tables, or rows are not as it was fitted on.
        EvidenceError: E72, a row is decided differently that is not near.
    """
    columns = getattr(learner, "n_features_in_", None)
    if columns is None:
        raise _unknown("a learner that is not fitted", "fit it first")
    rows = np.zeros((0, columns), np.float32) if rows is None else rows
    if rows.ndim != 2 or rows.shape[1] != columns or rows.dtype != np.float32:
        found = f"rows of {rows.dtype} {list(rows.shape)}"
        raise _unknown(found, f"give float32 [rows, {columns}], as the learner was fitted on")
    graph = Graph(name)
    features = graph.input(FEATURES, int(columns))
    tables = _tables(learner)
    total = add_to(graph, features, tables)
    exact = sums(tables, rows)
    if isinstance(learner, IsolationForest):
        near, differ = _isolation(graph, learner, rows, total, tables, exact)
    elif isinstance(learner, _CLASSIFIERS):
        near, differ = _classes(graph, learner, rows, total, tables, exact)
    else:
        near, differ = _values(graph, learner, rows, total, tables, exact)
    if (differ & ~near).any():
        raise EvidenceError(
            "E72",
            found=f"{int((differ & ~near).sum()):,} of {len(rows):,} rows decided differently",
            where=f"the tables of {type(learner).__name__}",
            mend="give rows as the learner was fitted on, and a learner whose predict is its own",
        )
    return Forest(
        model=graph.bytes(),
        classes=tuple(map(str, getattr(learner, "classes_", ()))),
        error=float(tables.error.max()),
        rows=len(rows),
        near=int(near.sum()),
        differ=int(differ.sum()),
    )


def _tables(learner: Any) -> Tables:
    """The learner's trees and what is added to their sum."""
    if isinstance(learner, _CLASSIFIERS) and len(learner.classes_) < 2:
        raise _unknown("one class alone", "fit it on rows of two classes or more")
    if getattr(learner, "n_outputs_", 1) != 1:
        raise _unknown(f"{learner.n_outputs_} outputs at once", "fit one learner an output")
    if isinstance(learner, IsolationForest):
        return on_grid(_paths(learner), np.zeros(1))
    if isinstance(learner, _AVERAGED):
        trees = [_plain(one.tree_) for one in learner.estimators_]
        return on_grid(trees, np.zeros(trees[0].leaf.shape[1]))
    if isinstance(learner, _SINGLE):
        tree = _plain(learner.tree_)
        return on_grid([tree], np.zeros(tree.leaf.shape[1]))
    if isinstance(learner, _BOOSTED):
        return _boosted(learner)
    if isinstance(learner, _HISTOGRAM):
        return _histogram(learner)
    mend = "use IsolationForest, random forests, extra trees, gradient boosting or one tree"
    raise _unknown(f"a learner of class {type(learner).__name__}", mend)


def _plain(tree: Any) -> Tree:
    return from_arrays(tree, tree.value[:, 0, :])


def _paths(learner: IsolationForest) -> list[Tree]:
    """Every tree with the path length of its leaves, as the learner adds them."""
    made = []
    for place, one in enumerate(learner.estimators_):
        length = (
            learner._decision_path_lengths[place] + learner._average_path_length_per_tree[place]
        )
        columns = np.asarray(learner.estimators_features_[place], np.int64)
        made.append(from_arrays(one.tree_, (length - 1.0)[:, None], columns))
    return made


def _boosted(learner: Any) -> Tables:
    if learner.init is not None and learner.init != "zero":
        raise _unknown("an init learner of its own", "leave init as it is, or 'zero'")
    start = learner._raw_predict_init(np.zeros((1, learner.n_features_in_), np.float32))[0]
    outputs = len(start)
    trees = []
    for stage in learner.estimators_:
        for output, one in enumerate(stage):
            leaf = np.zeros((one.tree_.node_count, outputs))
            leaf[:, output] = learner.learning_rate * one.tree_.value[:, 0, 0]
            trees.append(from_arrays(one.tree_, leaf))
    return on_grid(trees, start.astype(np.float64))


def _histogram(learner: Any) -> Tables:
    if isinstance(learner, HistGradientBoostingRegressor) and learner.loss not in _IDENTITY_LOSSES:
        raise _unknown(f"loss {learner.loss}", f"use {', '.join(_IDENTITY_LOSSES)}")
    if getattr(learner, "_preprocessor", None) is not None:
        raise _unknown("categorical columns", "encode categories as columns of 0 and 1")
    start = np.asarray(learner._baseline_prediction, np.float64).reshape(-1)
    trees = [
        from_histogram(one.nodes, output, len(start))
        for stage in learner._predictors
        for output, one in enumerate(stage)
    ]
    return on_grid(trees, start)


def _isolation(
    graph: Graph,
    learner: IsolationForest,
    rows: NDArray[np.float32],
    total: str,
    tables: Tables,
    exact: NDArray[np.float64],
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Score 2^(-path / (trees * c)), and flagged where the path is short."""
    shortest = _average_path_length(learner._max_samples)
    scale = len(learner.estimators_) * shortest
    border = -scale * np.log2(-float(learner.offset_))
    flagged = _predicted(learner, rows) == -1
    limit = _limit(exact[:, 0], flagged, border, tables.unit)
    rate = graph.constant(np.full((1, 1), -np.log(2) / scale if scale else 0.0))
    below = graph.node("Less", total, graph.constant(np.full((1, 1), limit)))
    graph.output("score", graph.node("Exp", graph.node("Mul", total, rate)), 1)
    graph.output("flagged", graph.node("Cast", below, to=FLOAT), 1)
    count = graph.constant(np.full((1, 1), 1 / len(learner.estimators_)))
    graph.output("path", graph.node("Mul", total, count), 1)
    # The learner takes a power and compares in float64, a few units of its last place.
    slack = tables.error[0] + 8 * np.finfo(np.float64).eps * scale
    near = np.abs(exact[:, 0] - border) <= slack + tables.unit
    return near, (exact[:, 0] < limit) != flagged


def _limit(
    exact: NDArray[np.float64], flagged: NDArray[np.bool_], border: float, unit: float
) -> float:
    """The multiple of `unit` that paths are flagged below: the border, moved to separate rows."""
    limit = float(np.ceil(border / unit) * unit)
    longest = float(exact[flagged].max(initial=-np.inf))
    shortest = float(exact[~flagged].min(initial=np.inf))
    if longest >= shortest:
        return limit
    return min(max(limit, longest + unit), shortest)


def _average_path_length(samples: int) -> float:
    """Of an unsuccessful search in a binary search tree (Liu, Ting and Zhou 2008, equation 1)."""
    if samples <= 2:
        return float(samples == 2)
    return float(2.0 * (np.log(samples - 1.0) + np.euler_gamma) - 2.0 * (samples - 1.0) / samples)


def _classes(
    graph: Graph,
    learner: Any,
    rows: NDArray[np.float32],
    total: str,
    tables: Tables,
    exact: NDArray[np.float64],
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Probabilities, and the first class of the greatest sum."""
    if isinstance(learner, _AVERAGED + _SINGLE):
        share = 1 / len(tables.trees)
        votes, chances = exact, graph.node("Mul", total, graph.constant(np.full((1, 1), share)))
        deciding = total
    elif exact.shape[1] == 1:
        double = 2.0 if getattr(learner, "loss", "") == "exponential" else 1.0
        pair = graph.project(total, np.array([[0, double]], np.float32))
        chances, deciding = graph.softmax(pair), pair
        votes = np.concatenate([np.zeros_like(exact), exact], axis=1)
        if isinstance(learner, GradientBoostingClassifier):  # Which takes 0 for the second class.
            least = np.array([[-tables.unit, 0.0]])
            deciding, votes = graph.node("Add", pair, graph.constant(least)), votes + least
    else:
        votes, chances, deciding = exact, graph.softmax(total), total
    graph.output("probabilities", chances, votes.shape[1])
    graph.output("class", graph.argmax(deciding), 1, INT64)
    best = np.sort(votes, axis=1)
    near = best[:, -1] - best[:, -2] <= 2 * tables.error.max() + tables.unit
    return near, learner.classes_[votes.argmax(axis=1)] != _predicted(learner, rows)


def _values(
    graph: Graph,
    learner: Any,
    rows: NDArray[np.float32],
    total: str,
    tables: Tables,
    exact: NDArray[np.float64],
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """The sum, or the mean; "differ" are rows further from the learner than `error`."""
    count = len(tables.trees) if isinstance(learner, _AVERAGED) else 1
    value = total
    if count > 1:
        value = graph.node("Mul", total, graph.constant(np.full((1, 1), 1 / count)))
    graph.output("value", value, 1)
    found = _predicted(learner, rows) * count
    return np.zeros(len(rows), np.bool_), np.abs(exact[:, 0] - found) > tables.error[0]


def _predicted(learner: Any, rows: NDArray[np.float32]) -> NDArray[Any]:
    """What the learner says of rows, which it knows by the names of columns that it was given."""
    if not len(rows):
        return np.asarray(getattr(learner, "classes_", np.zeros(1)))[:0]
    names = getattr(learner, "feature_names_in_", None)
    given = rows if names is None else pd.DataFrame(rows, columns=names)
    return np.asarray(learner.predict(given))


def _unknown(found: str, mend: str) -> HandshakeError:
    return HandshakeError("E70", found=found, where="writing trees as ONNX", mend=mend)
