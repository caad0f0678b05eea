"""Float ONNX -> static int8 ONNX: pairs of Q and DQ around everything between the layers.

Weights are symmetric int8 with zero point 0, one scale a channel; activations asymmetric int8;
biases int32 at the product of both scales. Batch normalisation and Relu are inside the layers.
What comes before the first layer and after the last stays float, as do nodes with `preprocess`
among the parts of their name. The scales are such that requantisation needs no float arithmetic:
see `edge.quantize.portable`.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from edge.calibration import RECOMMENDED_ROWS
from edge.quantize.graph import Net, floats, model_of, serialised
from edge.quantize.grids import Grid, grids
from edge.quantize.linear import is_preprocess
from edge.quantize.moments import moments
from edge.quantize.place import placed, real
from edge.quantize.plan import Plan, layers_of, plan
from edge.quantize.prepare import prepare
from edge.quantize.ranges import ranges
from edge.quantize.session import values
from edge.quantize.weights import Packed, pack
from firnline.contracts.ensemble import Quantize
from firnline.errors import EvidenceError

__all__ = ["Quantized", "damage", "layer_names", "quantize"]

_DAMAGE_ROWS = 256
_MOST_VALUES = 40_000_000
_MOST_PRODUCTS = 4_000_000_000

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Quantized:
    """An int8 model and what was quantised.

    Attributes:
        model: ONNX bytes.
        layers: Names of the quantised layers, in graph order.
        notes: What is worth knowing about it; empty when all is as recommended.
    """

    model: bytes
    layers: tuple[str, ...]
    notes: tuple[str, ...] = ()


def quantize(float_model: bytes, calibration: Floats, how: Quantize) -> Quantized:
    """Quantise a float model.

    Args:
        float_model: ONNX bytes, with one float32 input [1 or rows, *shape].
        calibration: Rows that activation ranges are taken from, [rows, *shape]; NaN allowed where
            the graph fills it before the first layer.
        how: Where ranges come from, how weights are rounded, and what stays float.

    Raises:
        EvidenceError: E2, there is no layer to quantise; E14, the calibration rows make a value
            that is not finite; E15, there are no calibration rows.
        HandshakeError: E10, an operator between layers has no integer form; E11, it is no float
            ONNX model; E12, its input does not fit; E13, `float_layers` names no layer.
    """
    rows = floats(calibration)
    if rows.ndim < 2 or not len(rows):
        raise EvidenceError(
            "E15",
            found=f"calibration rows of shape {list(rows.shape)}",
            where="quantising",
            mend=f"give at least {RECOMMENDED_ROWS} rows that cover what the device will see",
        )
    net = prepare(float_model, rows.shape[1:])
    chosen = plan(net, how)
    made, packed = _made(net, chosen, rows, how)
    model = model_of(made)
    onnx.checker.check_model(model, full_check=True)
    return Quantized(serialised(model), chosen.layers, _notes(rows, chosen, packed))


def damage(float_model: bytes, calibration: Floats, how: Quantize) -> tuple[tuple[str, float], ...]:
    """How much each layer alone, in int8, changes what the model gives; the most harmful first.

    Args:
        float_model: As for `quantize`.
        calibration: As for `quantize`.
        how: As for `quantize`; layers that stay float are not among the result.

    Returns:
        Every layer and its damage: mean square of the difference over the variance, of all
        outputs together.

    Raises:
        FirnlineError: As `quantize`.
    """
    rows = floats(calibration)[-_DAMAGE_ROWS:]
    net = prepare(float_model, rows.shape[1:])
    layers = plan(net, how).layers
    given = {net.input: rows}
    exact = values(net, given, net.outputs)
    found = []
    for layer in layers:
        others = tuple(name for name in layers_of(net) if name != layer)
        alone = how.model_copy(update={"float_layers": others, "rounding": "nearest"})
        made, _ = _made(net, plan(net, alone), rows, alone)
        rounded = values(made, given, net.outputs)
        found.append((layer, sum(_change(exact[name], rounded[name]) for name in net.outputs)))
    return tuple(sorted(found, key=lambda item: -item[1]))


def _change(exact: NDArray[Any], rounded: NDArray[Any]) -> float:
    wide = exact.astype(np.float64)
    return float(np.square(rounded - wide).mean() / max(wide.var(), 1e-30))


def _made(net: Net, chosen: Plan, rows: Floats, how: Quantize) -> tuple[Net, dict[str, Packed]]:
    scales = grids(chosen, ranges(net, chosen, rows, how))
    packed = _packed(chosen, scales, rows, how)
    return placed(chosen, scales, packed), packed


def layer_names(model: Any) -> list[str]:
    """Names of a ModelProto's nodes that would be layers in int8."""
    constants = {constant.name: list(constant.dims) for constant in model.graph.initializer}
    return [
        node.name
        for node in model.graph.node
        if node.op_type in ("Gemm", "MatMul", "Conv")
        and node.input[1] in constants
        and node.input[0] not in constants
        and not is_preprocess(node)
    ]


def _packed(
    chosen: Plan, scales: dict[str, Grid], rows: Floats, how: Quantize
) -> dict[str, Packed]:
    """Every layer, in order: each sees its input as the layers before it, quantised, make it."""
    packed: dict[str, Packed] = {}
    known = {chosen.net.input: _thinned(chosen, rows)}
    for node in (node for node in chosen.net.nodes if node.name in chosen.layers):
        weights, bias = (floats(chosen.net.constants[name]) for name in node.input[1:])
        seen = None
        if how.rounding == "compensated":
            seen = moments(node, weights, _input_of(node, chosen, scales, packed, known))
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
    held = sum(int(np.prod(net.shapes[name])) for name in (net.input, *inputs))
    work = sum(
        int(np.prod(net.shapes[node.output[0]])) * net.constants[node.input[1]][0].size
        for node in net.nodes
        if node.name in chosen.layers
    )
    most = max(min(_MOST_VALUES // held, _MOST_PRODUCTS // max(work, 1)), 16)
    if len(rows) <= most:
        return rows
    return rows[np.linspace(0, len(rows) - 1, most).astype(np.intp)]


def _notes(rows: Floats, chosen: Plan, packed: dict[str, Packed]) -> tuple[str, ...]:
    notes = []
    if len(rows) < RECOMMENDED_ROWS:
        notes.append(
            f"{len(rows)} calibration rows, fewer than the {RECOMMENDED_ROWS} that cover what "
            "is rare"
        )
    if chosen.islands:
        notes.append(f"computed in float between layers: {', '.join(chosen.islands)}")
    kept = [name for name in layers_of(chosen.net) if name not in chosen.layers]
    if kept:
        notes.append(f"layers kept in float: {', '.join(kept)}")
    for name, layer in packed.items():
        if not layer.exact.all():
            count = int((~layer.exact).sum())
            notes.append(f"{count} channels of {name} requantise in float arithmetic")
    return tuple(notes)
