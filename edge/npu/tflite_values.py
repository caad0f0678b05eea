"""Values in TFLite: scales where the program has factors, bounds as fused activations."""

import numpy as np

from edge.npu.plan import Plan, Tensor
from edge.program import Floats, Int8s, Operation, Value
from firnline.errors import HandshakeError

_NEIGHBOURS = 8
"""Float32 steps within which the weight scale of a factor lies, for three roundings in between."""


def refused(step: Operation, why: str) -> HandshakeError:
    """E52, for an operation that TFLite has no form for."""
    return HandshakeError(
        "E52",
        found=why,
        where=f"operation {step.name!r}",
        mend="take the TOSA path, which Vela reads as well",
    )


def quantised(value: Value) -> Tensor:
    """A value as a tensor: its own shape behind a batch of 1, its scale and zero point."""
    return like(value, value.name, value.shape)


def like(value: Value, name: str, shape: tuple[int, ...]) -> Tensor:
    """Another tensor with a value's scale and zero point."""
    return Tensor(name, (1, *shape), scale=(value.scale,), zero=value.zero)


def weight_scales(factors: Floats, x_scale: float, y_scale: float) -> Floats:
    """Weight scales that give a layer's factors again: float32(float32(x * w) / y) = factor.

    Where no float32 does, the nearest: the factor then is an ulp off, which the proof counts.

    Args:
        factors: float32 [channels].
        x_scale: Scale of the layer's input.
        y_scale: Scale of its output.
    """
    x, y = np.float32(x_scale), np.float32(y_scale)
    first = (factors.astype(np.float64) * float(y) / float(x)).astype(np.float32)
    order = sorted(range(-_NEIGHBOURS, _NEIGHBOURS + 1), key=abs)
    tried = (first.view(np.int32)[:, None] + np.array(order, np.int32)).view(np.float32)
    made = ((x * tried).astype(np.float32) / y).astype(np.float32)
    far = np.abs(made.astype(np.float64) - factors[:, None])
    found: Floats = tried[np.arange(len(tried)), far.argmin(axis=1)]
    return found


def bounded(graph: Plan, made: Value, low: int, high: int, fused: bool = True) -> tuple[str, str]:
    """The tensor an operator writes, and the activation fused into it.

    Bounds that no activation stands for leave a tensor before the output, which the caller raises
    and lowers by MAXIMUM and MINIMUM.
    """
    kind = "ActivationFunctionType."
    name = made.name
    six = made.zero + int(np.rint(np.float32(6.0) / np.float32(made.scale)))
    if (low, high) == (-128, 127):
        kind += "NONE"
    elif fused and (low, high) == (made.zero, 127):
        kind += "RELU"
    elif fused and (low, high) == (made.zero, six):
        kind += "RELU6"
    else:
        kind += "NONE"
        name = f"{made.name}@unbounded"
    return graph.tensor(like(made, name, made.shape)), kind


def requantised(table: Int8s, source: Value, made: Value) -> tuple[int, int] | None:
    """Bounds of a table that is a change of scale within bounds, None for any other.

    Args:
        table: int8 [256].
        source: What it reads.
        made: What it makes.
    """
    real = (np.arange(-128, 128) - source.zero) * source.scale
    free = np.clip(np.rint(real / made.scale) + made.zero, -128, 127)
    low, high = int(table.min()), int(table.max())
    if np.array_equal(np.clip(free, low, high), table) and low < high:
        inner = (-128 if free.min() >= low else low), (127 if free.max() <= high else high)
        return inner
    return None
