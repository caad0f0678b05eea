"""Small programs with random parameters, made by hand: every operation, odd sizes and extremes."""

from dataclasses import dataclass, field, replace

import numpy as np

from edge.program import (
    Conv,
    Dense,
    Operation,
    Program,
    Requant,
    Value,
    bounds,
)
from edge.quantize.portable import integers, nudged


def requant(scales, low_acc, high_acc, zero=0, low=-128, high=127, exact=True):
    """Factors for scales, proven where `exact`."""
    scales = np.atleast_1d(np.asarray(scales, np.float32))
    low_acc, high_acc = (np.broadcast_to(reach, scales.shape) for reach in (low_acc, high_acc))
    low_acc, high_acc = low_acc.astype(np.int64), high_acc.astype(np.int64)
    if exact:
        scales = nudged(1.0, scales, 1.0, zero, low_acc, high_acc)
    made = integers(scales, zero, low_acc, high_acc)
    proven = made.exact if exact else np.zeros(len(scales), bool)
    return Requant(scales, made.multiplier, made.shift, proven, zero, low, high)


@dataclass
class Builder:
    """A program, operation by operation."""

    name: str
    seed: int = 0
    values: dict[str, Value] = field(default_factory=dict)
    operations: list[Operation] = field(default_factory=list)
    inputs: list[str] = field(default_factory=list)

    def __post_init__(self):
        self.random = np.random.default_rng(self.seed)

    def value(self, shape, dtype="int8", scale=0.05, zero=3, name=None):
        made = Value(
            name or f"v{len(self.values)}", tuple(shape), dtype, *_scale(dtype, scale, zero)
        )
        self.values[made.name] = made
        return made

    def input(self, shape, dtype="int8", name="x", scale=0.05, zero=3):
        self.inputs.append(name)
        return self.value(shape, dtype, scale, zero, name)

    def add(self, kind, inputs, shape, dtype="int8", /, unit=0.05, zero=3, name=None, **fields):
        made = self.value(shape, dtype, unit, zero, name)
        step = kind(
            f"/node{len(self.operations)}/{kind.__name__}", _names(inputs), made.name, **fields
        )
        self.operations.append(step)
        return made

    def dense(self, x, outs, exact=True, zero=-5, low=-128, high=127, weights=None, name=None):
        columns = x.shape[-1]
        made = weights
        if made is None:
            made = self.random.integers(-127, 128, (outs, columns), np.int8)
        bias = self.random.integers(-2000, 2000, outs, np.int32)
        layer = Dense("", (x.name,), "", made, bias, None)
        reach = bounds(layer, x.zero)
        scales = self.scales(outs, columns)
        how = requant(scales, *reach, zero, low, high, exact)
        shape = (*x.shape[:-1], outs)
        fields = {"weights": made, "bias": bias, "requant": how}
        return self.add(Dense, [x], shape, zero=zero, name=name, **fields)

    def conv(self, x, outs, kernel, exact=True, zero=-5, low=-128, high=127, **how):
        groups = how.get("groups", 1)
        weights = self.random.integers(-127, 128, (outs, *kernel, x.shape[2] // groups), np.int8)
        bias = self.random.integers(-2000, 2000, outs, np.int32)
        scales = self.scales(outs, int(np.prod(weights.shape[1:])))
        layer = Conv("", (x.name,), "", weights, bias, Requant(scales, *[None] * 3, 0), **how)
        how["requant"] = requant(scales, *bounds(layer, x.zero), zero, low, high, exact)
        shape = (*window_shape(x.shape, kernel, layer.stride, layer.dilation, layer.pad), outs)
        return self.add(Conv, [x], shape, zero=zero, weights=weights, bias=bias, **how)

    def scales(self, channels, summed):
        """So that a good part of the results is neither 0 nor saturated."""
        spread = self.random.uniform(0.3, 1.5, channels)
        return (spread * 40 / (73 * 73 * np.sqrt(summed))).astype(np.float32)

    def program(self, *outputs):
        names = tuple(_names(outputs))
        return Program(self.name, tuple(self.inputs), names, self.values, tuple(self.operations))


def window_shape(image, kernel, stride=(1, 1), dilation=(1, 1), pad=(0, 0, 0, 0)):
    """Height and width of what a window makes of an image."""
    height = image[0] + pad[0] + pad[2] - dilation[0] * (kernel[0] - 1) - 1
    width = image[1] + pad[1] + pad[3] - dilation[1] * (kernel[1] - 1) - 1
    return height // stride[0] + 1, width // stride[1] + 1


def rows(program, count, seed=0):
    """Random inputs of a program; the first rows are extremes, floats have a few gaps."""
    random = np.random.default_rng(seed)
    made = {}
    for name in program.inputs:
        value = program.values[name]
        shape = (count, *value.shape)
        if value.dtype == "int8":
            given = random.integers(-128, 128, shape, np.int8)
            given[0], given[1] = -128, 127
        else:
            given = (random.normal(size=shape) * 2).astype(np.float32)
        made[name] = given
    return made


def packed(program, inputs):
    """Rows as the bytes that `firnline_entry` takes: uint8 [rows, bytes]."""
    flat = [np.ascontiguousarray(inputs[name]).view(np.uint8) for name in program.inputs]
    return np.concatenate([one.reshape(len(one), -1) for one in flat], axis=1)


def unpacked(program, raw):
    """The outputs in the bytes that `firnline_entry` gives."""
    made, place = {}, 0
    for name in program.outputs:
        value = program.values[name]
        part = np.ascontiguousarray(raw[:, place : place + value.bytes])
        made[name] = part.view(value.dtype).reshape(len(raw), *value.shape)
        place += value.bytes
    return made


def _names(values):
    return tuple(one if isinstance(one, str) else one.name for one in values)


def _scale(dtype, scale, zero):
    return (scale, zero) if dtype == "int8" else (0.0, 0)


def without_proof(program):
    """The same program with no requantisation proven: every layer by the float definition."""
    return replace(program, operations=tuple(map(_unproven, program.operations)))


def _unproven(step):
    how = getattr(step, "requant", None)
    if how is None:
        return step
    return replace(step, requant=replace(how, exact=np.zeros_like(how.exact)))
