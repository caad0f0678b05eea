"""Trees as C tables: 9 bytes a split, or 6 where a column's thresholds are few.

A split holds a key, a column and where to go on; a leaf is a reference to a row of values, equal
rows held once. Keys are float32 thresholds in the order of integers, or their places among all
thresholds of the column: x <= t exactly where fewer than its place + 1 thresholds lie below x.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edge.leaves import nodes_of_trees, unit
from edge.mcu.emit import emit
from edge.mcu.emit_text import array, number, record
from edge.mcu.kernels import Emitted, Operand
from edge.program import Floats, Trees
from firnline.errors import HandshakeError

MOST = 1 << 15
"""Splits of a group of trees, and rows of its values."""

_RANKING_CODE = 128  # Bytes that looking up places takes about.
_ALWAYS_RIGHT = -(2**31)


@dataclass
class _Group:
    """Trees that share their tables.

    Attributes:
        column: The one output that the trees add to; None for all.
        splits: Nodes of the program.
        following: Per split, where to go on: a split, or -1 - a row.
        roots: Per tree, as `following`.
        rows: Bytes of a row of values -> its place.
        leaves: A leaf of every row.
    """

    column: int | None
    splits: list[int] = field(default_factory=list)
    following: list[tuple[int, int]] = field(default_factory=list)
    roots: list[int] = field(default_factory=list)
    rows: dict[bytes, int] = field(default_factory=dict)
    leaves: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class _Keys:
    """What splits compare.

    Attributes:
        column: Per node, the place among `columns`.
        key: Per node.
        columns: uint16: 2 * column of the input, plus 1 where missing goes left.
        levels: int32, thresholds of all columns, ascending in each; None where keys are thresholds.
        counts: uint16, how many of each column.
    """

    column: NDArray[np.generic]
    key: NDArray[np.generic]
    columns: NDArray[np.uint16]
    levels: NDArray[np.int32] | None
    counts: NDArray[np.uint16]


@emit.register
def trees(step: Trees, prefix: str, inputs: Sequence[Operand], y: Operand) -> Emitted:
    """Sum of the leaves an input reaches in every tree."""
    (x,) = inputs
    if step.feature.max() >= x.value.size:
        found = f"column {step.feature.max()} of an input of {x.value.size:,} elements"
        raise _refused(step, found, "give the trees the columns that they were trained on")
    keys, step_unit = _keys(step), unit(step)
    count, outputs = len(keys.columns), step.leaf.shape[1]
    data, call = _seen(prefix, keys, x)
    kind, total, base = "float", y.expression, list(step.base)
    if step_unit is not None:
        kind, total, base = "whole", "sum", list(_whole(step.base, step_unit))
        call += f"int32_t *const sum = &seen[{count}];\n"
    call += "".join(f"{total}[{i}] = {number(value)};\n" for i, value in enumerate(base))
    for place, group in enumerate(_groups(step)):
        name = f"{prefix}_forest{place}"
        data += _tables(name, step, group, keys, step_unit)
        call += f"firnline_trees_add_{kind}(&{name}, seen, &{total}[{group.column or 0}]);\n"
    if step_unit is not None:
        scale = number(np.float32(step_unit))
        ends = [f"{y.expression}[{i}] = (float)sum[{i}] * {scale};\n" for i in range(outputs)]
        call += "".join(ends)
    return Emitted(data, call.rstrip("\n"), ("firnline_float_trees.h",), 4 * (count + outputs))


def _seen(prefix: str, keys: _Keys, x: Operand) -> tuple[str, str]:
    """Constants and statements that turn the columns in use into integers at `seen`."""
    call = "int32_t *const seen = scratch;\n"
    if not len(keys.columns):
        return "", call + f"(void){x.expression};\n"
    data, count = array(f"{prefix}_columns", keys.columns), len(keys.columns)
    call += f"firnline_trees_see({prefix}_columns, {count}u, {x.expression}, seen);\n"
    if keys.levels is not None:
        data += array(f"{prefix}_levels", keys.levels) + array(f"{prefix}_counts", keys.counts)
        call += f"firnline_trees_rank({prefix}_levels, {prefix}_counts, {count}u, seen);\n"
    return data, call


def _whole(values: Floats, step_unit: float) -> NDArray[np.int32]:
    return (values.astype(np.float64) / step_unit).astype(np.int32)


def _keys(step: Trees) -> _Keys:
    """Keys of all splits, as thresholds or as places, whichever takes less flash."""
    inner = step.feature >= 0
    wanted = 2 * step.feature.astype(np.int64) + step.missing_left
    columns, places = np.unique(wanted[inner], return_inverse=True)
    narrow = np.uint8 if len(columns) <= 256 else np.uint16
    column = np.zeros(len(wanted), narrow)
    column[inner] = places
    key = _ordered(step.threshold)
    found = [np.unique(key[inner & (column == place)]) for place in range(len(columns))]
    counts = np.array([len(levels) for levels in found], np.int64)
    made = _Keys(column, key, columns.astype(np.uint16), None, np.zeros(0, np.uint16))
    if not inner.any() or np.isnan(step.threshold[inner]).any() or counts.max() >= 2 * MOST:
        return made
    width = 1 if counts.max() <= 256 else 2
    splits = int(inner.sum())
    if width * splits + 4 * int(counts.sum()) + 2 * len(counts) + _RANKING_CODE >= 4 * splits:
        return made
    ranks = np.zeros(len(key), np.uint8 if width == 1 else np.uint16)
    for place, levels in enumerate(found):
        here = inner & (column == place)
        ranks[here] = np.searchsorted(levels, key[here])
    levels = np.concatenate(found).astype(np.int32)
    return _Keys(column, ranks, made.columns, levels, counts.astype(np.uint16))


def _ordered(thresholds: Floats) -> NDArray[np.int32]:
    """Floats as integers of the same order; NaN, which nothing is at most, below all of them."""
    # The sum makes 0.0 of -0.0, which inputs of either sign are at most.
    bits = (thresholds + np.float32(0)).view(np.int32)
    ordered = np.where(bits >= 0, bits, -1 - (bits & 0x7FFFFFFF)).astype(np.int32)
    return np.where(np.isnan(thresholds), np.int32(_ALWAYS_RIGHT), ordered)


def _groups(step: Trees) -> list[_Group]:
    """Trees in order, as many together as 15 bits can tell apart.

    Boosted trees of several classes add to one output each; these go by output, and hold one value
    a leaf. The sum of an output is taken in the same order, less zeros that change nothing.
    """
    made: dict[int | None, list[_Group]] = {}
    zeros_matter = bool((np.signbit(step.base) & (step.base == 0)).any())
    for nodes in nodes_of_trees(step):
        leaves = [node for node in nodes if step.feature[node] < 0]
        if len(leaves) > MOST:
            mend = f"train with a smaller max_depth: at most {MOST:,} leaves a tree"
            raise _refused(step, f"a tree of {len(leaves):,} leaves", mend)
        columns = np.flatnonzero(step.leaf[leaves].any(axis=0))
        alone = len(columns) == 1 and step.leaf.shape[1] > 1 and not zeros_matter
        column = int(columns[0]) if alone else None
        groups = made.setdefault(column, [_Group(column)])
        if not _fits(step, groups[-1], nodes, leaves):
            groups.append(_Group(column))
        _append(step, groups[-1], nodes, leaves)
    return [group for groups in made.values() for group in groups]


def _row(step: Trees, group: _Group, leaf: int) -> Floats:
    """What a leaf adds to the group's outputs."""
    return step.leaf[leaf] if group.column is None else step.leaf[leaf, group.column, None]


def _fits(step: Trees, group: _Group, nodes: list[int], leaves: list[int]) -> bool:
    new = {_row(step, group, leaf).tobytes() for leaf in leaves}.difference(group.rows)
    splits = len(group.splits) + len(nodes) - len(leaves)
    return max(splits, len(group.rows) + len(new)) <= MOST


def _append(step: Trees, group: _Group, nodes: list[int], leaves: list[int]) -> None:
    splits = [node for node in nodes if step.feature[node] >= 0]
    references = {node: len(group.splits) + place for place, node in enumerate(splits)}
    for leaf in leaves:
        row = _row(step, group, leaf).tobytes()
        if row not in group.rows:
            group.rows[row] = len(group.leaves)
            group.leaves.append(leaf)
        references[leaf] = -1 - group.rows[row]
    group.roots.append(references[nodes[0]])
    group.splits += splits
    group.following += [
        (references[int(step.left[node])], references[int(step.right[node])]) for node in splits
    ]


def _tables(name: str, step: Trees, group: _Group, keys: _Keys, step_unit: float | None) -> str:
    """A group's arrays and the structure that names them."""
    held_rows = np.array([_row(step, group, leaf) for leaf in group.leaves], np.float32)
    values: NDArray[np.generic] = held_rows
    if step_unit is not None:
        whole = _whole(held_rows, step_unit)
        values = whole.astype(np.int16) if (np.abs(whole) < MOST).all() else whole
    arrays: dict[str, NDArray[np.generic]] = {
        "keys": keys.key[group.splits],
        "columns": keys.column[group.splits],
        "next": np.array(group.following, np.int16),
        "roots": np.array(group.roots, np.int16),
        "values": values,
    }
    held = {part: table for part, table in arrays.items() if table.size}
    data = "".join(array(f"{name}_{part}", table) for part, table in held.items())
    fields = {part: f"{name}_{part}" if part in held else "NULL" for part in arrays}
    fields |= {
        "trees": f"{len(group.roots)}u",
        "outputs": f"{held_rows.shape[1]}u",
        "key_bytes": f"{keys.key.itemsize}u",
        "column_bytes": f"{keys.column.itemsize}u",
        "value_bytes": f"{values.dtype.itemsize}u",
    }
    return data + record("firnline_trees", name, fields)


def _refused(step: Trees, found: str, mend: str) -> HandshakeError:
    return HandshakeError("E37", found=found, where=f"node {step.name}", mend=mend)
