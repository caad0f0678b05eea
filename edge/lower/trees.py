"""Trees of the domain ai.onnx.ml -> `Trees`, and what comes after their sum.

Scores and labels are those of ONNX Runtime's kernels (`tree_ensemble_aggregator.h`), which settle
what the standard leaves open: of two classes with votes for one alone, the other has 1 - p or -p;
with votes for both, the label is the second wherever its score is above 0.
"""

from dataclasses import fields, replace

import numpy as np

from edge.leaves import unit
from edge.lower import floats
from edge.lower.context import Context
from edge.lower.forest import Forest, broken, forest, numbers, unsupported
from edge.lower.graph import Node
from edge.lower.symbols import Coded, Real, Symbol, Whole, whole
from edge.program import ArgMax, FloatDense, Floats, FloatSoftmax, Trees

_POSITIVE = 0.5
_ONE_OR_BOTH = "convert it with votes for the first class alone, or for both without base values"


def regressor(context: Context, node: Node) -> Symbol:
    """TreeEnsembleRegressor: the sum or the mean of all trees, and base values."""
    outputs = int(node.attributes.get("n_targets", 1))
    how = _word(node, "aggregate_function", "SUM")
    if how not in ("SUM", "AVERAGE"):
        unsupported(node, f"aggregation {how}", "aggregate by SUM or AVERAGE")
    base = _base(node, (0, outputs))
    mean = how == "AVERAGE"
    made = _sum(context, node, "target", outputs, np.zeros_like(base) if mean else base)
    if mean:
        count = np.float32(len(_forest(context, node, "target", outputs).roots))
        made = floats.with_constant(context, made, "div", np.array([count]), False, node)
        if base.any():
            made = floats.with_constant(context, made, "add", base, False, node)
    return _transformed(context, made, node)


def classifier(context: Context, node: Node) -> Symbol:
    """TreeEnsembleClassifier: the label as a place among the classes, and the scores."""
    attributes = node.attributes
    labels = attributes.get("classlabels_int64s") or attributes.get("classlabels_strings") or ()
    classes = len(labels)
    if classes < 2:
        unsupported(node, f"{classes} classes", "classify into two or more")
    found = _forest(context, node, "class", classes)
    named = np.flatnonzero(found.voted.any(axis=0)).tolist()
    if classes == 2 and named == [0]:
        made, decisive = _one_sided(context, node, found)
    elif classes == 2:
        if named != [0, 1] or _base(node, None).size:
            unsupported(
                node, "two classes with base values, or without votes for the first", _ONE_OR_BOTH
            )
        made = _sum(context, node, "class", 2, np.zeros(2, np.float32))
        decisive = _mapped(context, node, made, [[0, 0], [0, 1]], [0, 0])
    else:
        _all_scored(node, found)
        made = decisive = _sum(context, node, "class", classes, _base(node, (0, classes)))
    context.symbols[node.outputs[1]] = _transformed(context, made, node)
    return _label(context, node, decisive)


def _one_sided(context: Context, node: Node, found: Forest) -> tuple[Real, Real]:
    """Scores of two classes from the votes for one, and a pair whose greatest is the label."""
    base = _base(node, (0, 1))
    p = _sum(context, node, "class", 1, base)
    shares = bool((found.leaf[found.feature < 0] >= 0).all())
    plain = _word(node, "post_transform", "NONE") in ("NONE", "SOFTMAX")
    first = 1 if shares and plain else 0
    limit = _POSITIVE if shares else 0.0
    scores = _mapped(context, node, p, [[-1], [1]], [first, 0])
    return scores, _mapped(context, node, p, [[0], [1]], [limit, 0])


def _forest(context: Context, node: Node, votes: str, outputs: int) -> Forest:
    columns = context.graph.shape(node.inputs[0])
    if len(columns) != 1:
        unsupported(node, f"an input of shape {list(columns)}", "flatten it to [rows, columns]")
    return forest(node, votes, outputs, columns[0])


def _sum(context: Context, node: Node, votes: str, outputs: int, base: Floats) -> Real:
    """The sum of all trees; base values last, as ONNX Runtime adds them, where it matters."""
    found = _forest(context, node, votes, 2 if votes == "class" and outputs == 1 else outputs)
    builder, source = context.builder, context.real(node, 0)
    given = builder.standard(source)
    tables = {item.name: getattr(found, item.name) for item in fields(found)}
    del tables["voted"]
    tables["leaf"] = np.ascontiguousarray(found.leaf[:, :outputs])
    if not np.isfinite(tables["leaf"]).all():
        broken(node, "leaves that are not finite")
    tables["threshold"] = _on_grid(context, node, tables["threshold"])
    made = builder.value(f"{node.outputs[-1]}/sum", (outputs,), "float32")
    step = Trees(builder.name(node.name), (given,), made, base=base, **tables)
    late = base.any() and unit(step) is None
    builder.add(replace(step, base=np.zeros_like(base)) if late else step)
    summed = Real(made, whole(made, (outputs,)))
    return floats.with_constant(context, summed, "add", base, False, node) if late else summed


def _on_grid(context: Context, node: Node, thresholds: Floats) -> Floats:
    """Thresholds of an int8 input: each as the greatest number it can be that is not above it.

    No more than 257 a column are left of them, which C holds in a byte.
    """
    symbol = context.symbols[node.inputs[0]]
    if not isinstance(symbol, Coded):
        return thresholds
    grid = context.grid(symbol)
    reals = np.arange(-128 - grid.zero, 128 - grid.zero).astype(np.float32) * np.float32(grid.scale)
    steps = np.concatenate([np.full(1, -np.inf, np.float32), reals])
    snapped: Floats = steps[np.searchsorted(reals, thresholds, side="right")]
    return snapped


def _mapped(
    context: Context, node: Node, source: Real, weights: list[list[float]], bias: list[float]
) -> Real:
    """A small linear map, every product and sum of which is exact or rounded once."""
    builder = context.builder
    given = builder.standard(source)
    made = builder.value(f"{node.outputs[-1]}/pair", (len(bias),), "float32")
    held = np.array(weights, np.float32), np.array(bias, np.float32)
    builder.add(FloatDense(builder.name(node.name), (given,), made, *held))
    return Real(made, whole(made, (len(bias),)))


def _label(context: Context, node: Node, scores: Real) -> Whole:
    builder = context.builder
    made = builder.value(node.outputs[0], (1,), "int32")
    builder.add(ArgMax(builder.name(node.name), (builder.standard(scores),), made))
    return Whole(made, whole(made, context.graph.shape(node.outputs[0])))


def _transformed(context: Context, source: Real, node: Node) -> Real:
    how = _word(node, "post_transform", "NONE")
    one_sided = node.operator == "TreeEnsembleClassifier" and len(_votes_for(node)) == 1
    if how == "NONE" or (how == "SOFTMAX" and one_sided):
        return source
    if how == "LOGISTIC":
        return floats.unary(context, source, "sigmoid", node)
    if how != "SOFTMAX":
        unsupported(node, f"post_transform {how}", "use NONE, LOGISTIC or SOFTMAX")
    builder = context.builder
    made = builder.like(builder.standard(source), source.shape, f"{node.outputs[-1]}/share")
    builder.add(FloatSoftmax(builder.name(node.name), (builder.standard(source),), made))
    return Real(made, whole(made, source.shape))


def _all_scored(node: Node, found: Forest) -> None:
    """ONNX Runtime compares only classes that a reached leaf names: let that be all, or no matter.

    Without base values, negative scores alone could lose to a class that none of them names.
    """
    if (found.leaf >= 0).all() or _base(node, None).size:
        return
    scored = np.zeros(found.leaf.shape[1], np.bool_)
    for nodes in _leaves_of_trees(found):
        scored |= found.voted[nodes].all(axis=0)
    if not scored.all():
        unsupported(
            node,
            "classes that some leaves do not name, beside negative votes",
            "convert it with base values, or with a vote for every class in every tree",
        )


def _leaves_of_trees(found: Forest) -> list[list[int]]:
    made = []
    for root in found.roots.tolist():
        leaves, waiting = [], [root]
        while waiting:
            node = waiting.pop()
            if found.feature[node] < 0:
                leaves.append(node)
            else:
                waiting += [int(found.left[node]), int(found.right[node])]
        made.append(leaves)
    return made


def _base(node: Node, allowed: tuple[int, int] | None) -> Floats:
    """Base values as float32, zeros where there are none."""
    held = numbers(node, "base_values").astype(np.float32)
    if allowed is None:
        return held
    if held.size not in allowed:
        unsupported(node, f"{held.size} base values", f"use none, or {allowed[1]}")
    return held if held.size else np.zeros(allowed[1], np.float32)


def _votes_for(node: Node) -> set[int]:
    return set(node.attributes.get("class_ids", ()))


def _word(node: Node, name: str, default: str) -> str:
    held = node.attributes.get(name, default)
    return held.decode() if isinstance(held, bytes) else str(held)
