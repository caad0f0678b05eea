"""Programs built by hand: every operation that an NPU takes, and an autoencoder's shape."""

import numpy as np

from edge.program import (
    Add,
    AveragePool,
    Concat,
    Conv,
    Dense,
    Dequantize,
    MaxPool,
    Program,
    Quantize,
    Requant,
    Reshape,
    Table,
    Transpose,
    Value,
    bounds,
)
from edge.quantize.portable import combined, integers, nudged

AUTOENCODER = (640, 128, 128, 128, 128, 8, 128, 128, 128, 128, 640)


class Build:
    """A program that grows; every method adds an operation and gives its output's name."""

    def __init__(self, name, seed=0):
        self.name, self.random = name, np.random.default_rng(seed)
        self.values, self.steps, self.inputs = {}, [], []

    def input(self, shape, scale=0.05, zero=-3, dtype="int8"):
        name = f"in{len(self.inputs)}"
        self.values[name] = Value(name, tuple(shape), dtype, float(np.float32(scale)), zero)
        self.inputs.append(name)
        return name

    def dense(self, x, out, low=-128, high=127, zero=5, weights=None):
        source = self.values[x]
        if weights is None:
            weights = self.random.integers(-127, 128, (out, source.shape[-1])).astype(np.int8)
        shape = (*source.shape[:-1], len(weights))
        return self._layer(Dense, x, weights, shape, low, high, zero)

    def conv(self, x, out, kernel, low=-128, high=127, zero=5, **how):
        height, width, channels = self.values[x].shape
        taken = channels // how.get("groups", 1)
        weights = self.random.integers(-127, 128, (out, *kernel, taken)).astype(np.int8)
        size = spread((height, width), kernel, **{k: v for k, v in how.items() if k != "groups"})
        return self._layer(Conv, x, weights, (*size, out), low, high, zero, **how)

    def _layer(self, kind, x, weights, shape, low, high, zero, **how):
        source = self.values[x]
        flat = weights.reshape(len(weights), -1)
        bias = self.random.integers(-2000, 2000, len(weights)).astype(np.int32)
        probe = kind("", (x,), "", weights, bias, None)
        least, most = bounds(probe, source.zero)
        wanted = (0.01 + 0.002 * self.random.random(len(weights))).astype(np.float32)
        spread_of = np.sqrt(flat.shape[1]) * 70 * 60 * source.scale * 0.011
        y_scale = float(np.float32(spread_of / 60))
        scales = nudged(source.scale, wanted, y_scale, zero, least, most)
        both = combined(source.scale, scales, y_scale)
        made = integers(both, zero, least, most, low=low, high=high)
        requant = Requant(both, made.multiplier, made.shift, made.exact, zero, low, high)
        name = self._value(shape, y_scale, zero)
        self.steps.append(kind(f"layer {name}", (x,), name, weights, bias, requant, **how))
        return name

    def max_pool(self, x, kernel, **how):
        height, width, channels = self.values[x].shape
        name = self._like(x, (*spread((height, width), kernel, **how), channels))
        self.steps.append(MaxPool(f"greatest {name}", (x,), name, kernel, **how))
        return name

    def average_pool(self, x, kernel, **how):
        source = self.values[x]
        sized = {k: v for k, v in how.items() if k != "count_pad"}
        size = spread(source.shape[:2], kernel, **sized)
        name = self._value((*size, source.shape[2]), float(np.float32(source.scale * 0.61)), -7)
        scale = self.values[name].scale
        counts = np.arange(1, kernel[0] * kernel[1] + 1).astype(np.float32)
        both = (np.float32(source.scale) / (np.float32(scale) * counts)).astype(np.float32)
        reach = counts.astype(np.int64)
        made = integers(both, -7, (-128 - source.zero) * reach, (127 - source.zero) * reach)
        requant = Requant(both, made.multiplier, made.shift, made.exact, -7)
        self.steps.append(AveragePool(f"mean {name}", (x,), name, kernel, requant, **how))
        return name

    def add(self, a, b, scale, zero=4, low=-128, high=127):
        one, other = self.values[a], self.values[b]
        name = self._value(one.shape, float(np.float32(scale)), zero)
        left = np.float32(one.scale) / np.float32(scale)
        right = np.float32(other.scale) / np.float32(scale)
        fixed = np.float32(zero) - (left * np.float32(one.zero) + right * np.float32(other.zero))
        step = Add(f"sum {name}", (a, b), name, float(left), float(right), float(fixed), low, high)
        self.steps.append(step)
        return name

    def table(self, x, kind="Any"):
        name = self._like(x, self.values[x].shape)
        held = self.random.integers(-128, 128, 256).astype(np.int8)
        self.steps.append(Table(f"table {name}", (x,), name, held, kind))
        return name

    def concat(self, xs, axis, tables=True):
        shape = list(self.values[xs[0]].shape)
        shape[axis] = sum(self.values[x].shape[axis] for x in xs)
        name = self._like(xs[0], tuple(shape))
        held = self.random.integers(-128, 128, 256).astype(np.int8)
        used = (None, *((held if tables else None) for _ in xs[1:]))
        self.steps.append(Concat(f"beside {name}", tuple(xs), name, axis, used))
        return name

    def reshape(self, x, shape):
        name = self._like(x, tuple(shape))
        self.steps.append(Reshape(f"reshape {name}", (x,), name))
        return name

    def transpose(self, x, order):
        name = self._like(x, tuple(self.values[x].shape[axis] for axis in order))
        self.steps.append(Transpose(f"transpose {name}", (x,), name, tuple(order)))
        return name

    def quantize(self, x, scale=0.05, zero=-3):
        name = self._value(self.values[x].shape, float(np.float32(scale)), zero)
        self.steps.append(Quantize(f"to int8 {name}", (x,), name))
        return name

    def dequantize(self, x):
        name = self._value(self.values[x].shape, 0.0, 0, "float32")
        self.steps.append(Dequantize(f"to float {name}", (x,), name))
        return name

    def step(self, operation, inputs, shape, dtype="float32", **how):
        name = self._value(tuple(shape), 0.0, 0, dtype)
        self.steps.append(operation(f"{operation.__name__} {name}", tuple(inputs), name, **how))
        return name

    def _like(self, x, shape):
        return self._value(shape, self.values[x].scale, self.values[x].zero)

    def _value(self, shape, scale, zero, dtype="int8"):
        name = f"v{len(self.values)}"
        self.values[name] = Value(name, tuple(shape), dtype, scale, zero)
        return name

    def program(self, *outputs):
        return Program(self.name, tuple(self.inputs), outputs, self.values, tuple(self.steps))


def spread(size, kernel, stride=(1, 1), dilation=(1, 1), pad=(0, 0, 0, 0)):
    """Height and width that a window gives."""
    return tuple(
        (size[axis] + pad[axis] + pad[axis + 2] - (kernel[axis] - 1) * dilation[axis] - 1)
        // stride[axis]
        + 1
        for axis in (0, 1)
    )


def autoencoder(seed=0):
    """The MLPerf-Tiny-shaped autoencoder: 264,192 MAC, int8 in and out."""
    build = Build("autoencoder", seed)
    x = build.input((AUTOENCODER[0],), 0.4, -20)
    for width in AUTOENCODER[1:-1]:
        x = build.dense(x, width, zero=-128)
    return build.program(build.dense(x, AUTOENCODER[-1], zero=3))


def dense_of_every_kind(seed=1):
    """Odd widths, several rows, clamps, one width of 1."""
    build = Build("dense", seed)
    x = build.input((3, 13))
    x = build.dense(x, 7, low=-5, high=90)
    x = build.reshape(x, (21,))
    x = build.dense(x, 1)
    return build.program(build.dense(x, 5, zero=-128))


def images(seed=2):
    """Convolutions of every kind, pools, a sum, tables, joins: one branching graph."""
    build = Build("images", seed)
    x = build.input((11, 9, 6))
    wide = build.conv(x, 8, (3, 3), pad=(1, 1, 1, 1), low=5)
    strided = build.conv(wide, 8, (3, 2), stride=(2, 2), pad=(1, 0, 1, 1), zero=-128)
    dilated = build.conv(wide, 12, (2, 3), dilation=(2, 2), pad=(0, 2, 1, 1))
    grouped = build.conv(dilated, 6, (3, 3), groups=3)
    own = build.conv(wide, 16, (3, 3), stride=(2, 2), groups=8, pad=(0, 0, 2, 1))
    pooled = build.max_pool(wide, (3, 2), stride=(2, 2), pad=(1, 0, 1, 1))
    mean = build.average_pool(dilated, (2, 3), stride=(1, 2))
    whole = build.average_pool(wide, (11, 9))
    joined = build.concat([strided, build.table(pooled)], 2)
    turned = build.transpose(joined, (1, 0, 2))
    return build.program(grouped, own, mean, whole, turned)


def series(seed=3):
    """A one-dimensional extractor with a residual sum and a dense head."""
    build = Build("series", seed)
    x = build.input((1, 64, 14))
    x = build.conv(x, 16, (1, 5), pad=(0, 2, 0, 2), zero=-128)
    y = build.conv(x, 16, (1, 3), pad=(0, 1, 0, 1))
    x = build.add(y, x, scale=build.values[y].scale * 1.37)
    x = build.average_pool(build.conv(x, 32, (1, 5), stride=(1, 3), zero=-128), (1, 20))
    x = build.dense(build.reshape(x, (32,)), 4)
    return build.program(x)


def rows(program, count, seed=7):
    """Random vectors for every input: name -> [count, *shape], with the extremes among them."""
    random = np.random.default_rng(seed)
    found = {}
    for name in program.inputs:
        value = program.values[name]
        if value.dtype == "float32":
            found[name] = random.normal(size=(count, *value.shape)).astype(np.float32)
        else:
            found[name] = random.integers(-128, 128, (count, *value.shape)).astype(np.int8)
            found[name][0], found[name][-1] = -128, 127
    return found
