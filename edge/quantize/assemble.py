"""Putting a quantised graph together: ranges, then layer after layer, then Q and DQ nodes."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.quantize.graph import Net, floats
from edge.quantize.grids import Grid, grids
from edge.quantize.moments import moments
from edge.quantize.place import placed, real
from edge.quantize.plan import Plan
from edge.quantize.ranges import ranges
from edge.quantize.session import values
from edge.quantize.weights import Packed, pack
from firnline.contracts.quantize import Quantize

_MOST_VALUES = 40_000_000
_MOST_PRODUCTS = 4_000_000_000

Floats = NDArray[np.float32]


def assembled(net: Net, chosen: Plan, rows: Floats, how: Quantize) -> tuple[Net, dict[str, Packed]]:
    """The quantised graph, and its layers by name.

    Args:
        net: The float graph.
        chosen: What of it is quantised.
        rows: Calibration rows, [rows, *shape of the input].
        how: Where ranges come from and how weights are rounded.

    Raises:
        EvidenceError: E14, the rows make a value that is not finite.
    """
    scales = grids(chosen, ranges(net, chosen, rows, how))
    packed = _packed(net, chosen, scales, rows, how)
    return placed(chosen, scales, packed), packed


def _packed(
    net: Net, chosen: Plan, scales: dict[str, Grid], rows: Floats, how: Quantize
) -> dict[str, Packed]:
    """Every layer, in order: each sees its input as the layers before it, quantised, make it."""
    packed: dict[str, Packed] = {}
    known = {chosen.net.input: _thinned(chosen, rows)}
    layers = [node for node in chosen.net.nodes if node.name in chosen.layers]
    real: dict[str, Floats] = {}
    if how.rounding == "compensated":
        real = values(net, known, list(dict.fromkeys(node.input[0] for node in layers)))
    for node in layers:
        weights, bias = (floats(chosen.net.constants[name]) for name in node.input[1:])
        seen = None
        if how.rounding == "compensated":
            rounded = _input_of(node, chosen, scales, packed, known)
            seen = moments(node, weights, rounded, real[node.input[0]])
        packed[node.name] = pack(
            weights,
            bias,
            scales[node.input[0]],
            scales.get(node.output[0]),
            seen,
            per_channel=how.per_channel,
            levels=63 if how.reduce_range else 127,
        )
    return packed


def _input_of(
    node: Any,
    chosen: Plan,
    scales: dict[str, Grid],
    packed: dict[str, Packed],
    known: dict[str, Floats],
) -> Floats:
    """A layer's input on the calibration rows; what is found is kept in `known` for the next."""
    wanted = real(chosen, node.input[0])
    if wanted not in known:
        net = placed(chosen, scales, packed)
        known |= values(net, known, [wanted])
    return known[wanted]


def _thinned(chosen: Plan, rows: Floats) -> Floats:
    """As many rows, evenly spread, as weights need to be compensated by."""
    net: Net = chosen.net
    inputs = {node.input[0] for node in net.nodes if node.name in chosen.layers}
    # As int8 makes them and as the float model does.
    held = 2 * sum(int(np.prod(net.shapes[name])) for name in (net.input, *inputs))
    work = sum(
        int(np.prod(net.shapes[node.output[0]])) * net.constants[node.input[1]][0].size
        for node in net.nodes
        if node.name in chosen.layers
    )
    most = max(min(_MOST_VALUES // held, _MOST_PRODUCTS // max(work, 1)), 16)
    if len(rows) <= most:
        return rows
    return rows[np.linspace(0, len(rows) - 1, most).astype(np.intp)]
