"""Trees as C tables: 8 bytes a node, the two children of a node side by side."""

from collections.abc import Sequence

import numpy as np

from edge.mcu.emit import emit
from edge.mcu.emit_text import array, number, record, rows
from edge.mcu.kernels import Emitted, Operand
from edge.program import Trees
from firnline.errors import HandshakeError

MOST_NODES = 1 << 16
MOST_COLUMNS = 1 << 14


@emit.register
def trees(step: Trees, prefix: str, inputs: Sequence[Operand], y: Operand) -> Emitted:
    """Sum of the leaves an input reaches in every tree."""
    (x,) = inputs
    nodes: list[str] = []
    leaves: list[int] = []
    roots, first_leaves = [], []
    for root in step.roots.tolist():
        roots.append(len(nodes))
        first_leaves.append(len(leaves))
        _tree(step, root, nodes, leaves)
    data = (
        f"static const firnline_node {prefix}_nodes[{len(nodes)}] FIRNLINE_ALIGNED = {{\n"
        f"{rows(nodes)}\n}};\n"
    )
    data += array(f"{prefix}_roots", np.array(roots, np.uint32))
    data += array(f"{prefix}_leaf", np.array(first_leaves, np.uint32))
    data += array(f"{prefix}_values", step.leaf[leaves])
    data += array(f"{prefix}_base", step.base)
    fields = {name: f"{prefix}_{name}" for name in ("nodes", "roots", "leaf", "values", "base")}
    fields |= {"trees": f"{len(roots)}u", "outputs": f"{step.leaf.shape[1]}u"}
    data += record("firnline_trees", f"{prefix}_forest", fields)
    call = f"firnline_trees_run(&{prefix}_forest, {x.expression}, {y.expression});"
    return Emitted(data, call, ("float_trees.h",))


def _tree(step: Trees, root: int, nodes: list[str], leaves: list[int]) -> None:
    """Append one tree's nodes, every pair of children together, and the places of its leaves."""
    order, place, first_leaf = [root], 0, len(leaves)
    while place < len(order):
        node = order[place]
        place += 1
        if step.feature[node] < 0:
            nodes.append(f"{{0.0f, {len(leaves) - first_leaf}u, -1}}")
            leaves.append(node)
            continue
        split = 2 * int(step.feature[node]) + int(step.missing_left[node])
        if len(order) + 2 > MOST_NODES or split >= 2 * MOST_COLUMNS:
            raise HandshakeError(
                "E37",
                found=f"a tree with more than {MOST_NODES} nodes or {MOST_COLUMNS} columns",
                where=f"node {step.name}",
                mend="train with a smaller max_depth, or on fewer columns",
            )
        nodes.append(f"{{{number(step.threshold[node])}, {len(order)}u, {split}}}")
        order += [int(step.left[node]), int(step.right[node])]
