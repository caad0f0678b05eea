"""Mixed precision: which layers int8 harms most, to put these back to float one by one."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.quantize.assemble import assembled
from edge.quantize.graph import floats
from edge.quantize.plan import layers_of, plan
from edge.quantize.prepare import prepare
from edge.quantize.session import values
from firnline.contracts.quantize import Quantize

_ROWS = 256


def ranked(float_model: bytes, calibration: NDArray[np.float32], how: Quantize) -> tuple[str, ...]:
    """Names of the layers that are int8, the most harmful first; for arguments see `damage`."""
    return tuple(name for name, _ in damage(float_model, calibration, how))


def damage(
    float_model: bytes, calibration: NDArray[np.float32], how: Quantize
) -> tuple[tuple[str, float], ...]:
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
    rows = floats(calibration)[:_ROWS]
    net = prepare(float_model, rows.shape[1:])
    layers = plan(net, how).layers
    given = {net.input: rows}
    exact = values(net, given, net.outputs)
    found = []
    for layer in layers:
        others = tuple(name for name in layers_of(net) if name != layer)
        alone = how.model_copy(update={"float_layers": others, "rounding": "nearest"})
        made, _ = assembled(net, plan(net, alone), rows, alone)
        rounded = values(made, given, net.outputs)
        found.append((layer, sum(_change(exact[name], rounded[name]) for name in net.outputs)))
    return tuple(sorted(found, key=lambda item: -item[1]))


def _change(exact: NDArray[Any], rounded: NDArray[Any]) -> float:
    wide = exact.astype(np.float64)
    return float(np.square(rounded - wide).mean() / max(wide.var(), 1e-30))
