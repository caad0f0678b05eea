"""Programs that between them have every operation, and every way a value can lie in memory."""

from functools import cache

import numpy as np

from edge.program import (
    Add,
    ArgMax,
    AveragePool,
    Concat,
    Dense,
    Dequantize,
    Factors,
    FloatBinary,
    FloatConcat,
    FloatConv,
    FloatDense,
    FloatGather,
    FloatImpute,
    FloatPool,
    FloatReduce,
    FloatSoftmax,
    FloatUnary,
    MaxPool,
    Quantize,
    Reshape,
    Softmax,
    Table,
    Transpose,
    Trees,
)
from tests.edge.mcu.programs import Builder, requant, window_shape

UNARY = ("relu", "abs", "exp", "sigmoid", "tanh")
BINARY = ("add", "mul", "max", "min", "sub", "div")
EXTREMES = np.repeat(np.array([[127], [-127], [0]], np.int8), 33, axis=1)


@cache
def dense():
    """Odd sizes, one column, one channel, several rows, extremes, clips, floats out."""
    b = Builder("dense", 1)
    x = b.input((2, 33), zero=-128)
    h = b.dense(x, 9)
    h = b.dense(h, 1, low=-5)
    one = b.dense(h, 4, high=20)
    inexact = b.dense(x, 5, exact=False, low=-60, high=70)
    full = b.dense(x, 3, weights=EXTREMES)
    bias = b.random.integers(-9000, 9000, 6, np.int32)
    weights = b.random.integers(-127, 128, (6, 33), np.int8)
    scale = b.random.uniform(1e-4, 1e-2, 6).astype(np.float32)
    fields = {"weights": weights, "bias": bias, "requant": None, "scale": scale}
    real = b.add(Dense, [x], (2, 6), "float32", **fields)
    return b.program(one, inexact, full, real)


@cache
def conv():
    """Strides, dilations, paddings on every side, groups, channels that are not multiples of 4."""
    b = Builder("conv", 2)
    x = b.input((7, 9, 4), zero=-128)
    plain = b.conv(x, 6, (3, 3))
    padded = b.conv(x, 5, (3, 2), pad=(1, 0, 2, 1), stride=(2, 1), low=-5)
    dilated = b.conv(plain, 4, (2, 3), dilation=(2, 2), pad=(2, 3, 1, 4), exact=False)
    groups = b.conv(x, 6, (3, 3), groups=2, pad=(1, 1, 1, 1))
    depthwise = b.conv(x, 4, (3, 3), groups=4, pad=(1, 1, 1, 1), stride=(2, 2), high=90)
    twice = b.conv(x, 8, (1, 3), groups=4, dilation=(1, 3), pad=(0, 3, 0, 3))
    point = b.conv(x, 3, (1, 1), stride=(3, 2))
    return b.program(padded, dilated, groups, depthwise, twice, point)


@cache
def series():
    """Convolutions of a series and a dense layer on what they leave."""
    b = Builder("series", 3)
    x = b.input((1, 24, 5), zero=7)
    h = b.conv(x, 8, (1, 5), pad=(0, 2, 0, 2), low=-5)
    h = b.conv(h, 12, (1, 3), stride=(1, 2), low=-5)
    h = b.add(MaxPool, [h], (1, 5, 12), zero=-5, kernel=(1, 2), stride=(1, 2))
    h = b.add(Reshape, [h], (60,), zero=-5)
    return b.program(b.dense(h, 3, name="scores"))


@cache
def pools():
    """Both kinds, both counts, windows cut by every edge."""
    b = Builder("pools", 4)
    x = b.input((6, 7, 3), zero=-11)
    pad, kernel = (1, 1, 1, 0), (3, 2)
    shape = (*window_shape(x.shape, kernel, (2, 1), (1, 1), pad), 3)
    how = {"kernel": kernel, "stride": (2, 1), "pad": pad}
    most = b.add(MaxPool, [x], shape, zero=-11, **how)
    counts = np.arange(1, 7, dtype=np.float32)
    factors = requant(1.25 / counts, -255 * 6, 255 * 6, 4)
    mean = b.add(AveragePool, [x], shape, zero=4, requant=factors, **how)
    whole = b.add(AveragePool, [x], shape, zero=4, requant=factors, count_pad=True, **how)
    by_float = b.add(AveragePool, [x], shape, zero=4, unit=0.03, requant=None, low=-100, **how)
    one = requant(1.5 / 42, -255 * 42, 255 * 42, -3, exact=False)
    everything = b.add(AveragePool, [x], (1, 1, 3), zero=-3, kernel=(6, 7), requant=one)
    return b.program(most, mean, whole, by_float, everything)


def elements():
    """Sums, tables, values side by side, softmax, argmax, axes in another order."""
    b = Builder("elements", 5)
    left, right = b.input((3, 5, 4)), b.input((3, 5, 4), name="second")
    factors = Factors(3072, 2048, 5325 + 2048, 12)  # quarters and 1.3: no sum is near a tie
    total = b.add(Add, [left, right], (3, 5, 4), left=0.75, right=0.5, fixed=1.3, factors=factors)
    by_float = b.add(Add, [left, left], (3, 5, 4), left=0.71, right=0.43, fixed=-3.3, low=-50)
    table = b.random.integers(-128, 128, 256, np.int8)
    mapped = b.add(Table, [total], (3, 5, 4), table=table, kind="Tanh")
    side = b.add(Concat, [mapped, right, left], (3, 15, 4), axis=1, tables=(None, table, None))
    last = b.add(Concat, [left, mapped], (3, 5, 8), axis=2, tables=(table, None))
    turned = b.add(Transpose, [last], (8, 3, 5), order=(2, 0, 1))
    swapped = b.add(Transpose, [side], (3, 4, 15), order=(0, 2, 1))
    exps = np.exp(0.05 * (np.arange(256) - 255)).astype(np.float32)
    share = b.add(Softmax, [last], (3, 5, 8), unit=1 / 256, zero=-128, table=exps, levels=256)
    place = b.add(ArgMax, [swapped], (3, 4, 1), "int32")
    return b.program(by_float, turned, swapped, share, place)


def floats():
    """What stands around a model: gaps, scaling, layers, scores."""
    b = Builder("floats", 6)
    x = b.input((2, 6), "float32")
    fill = b.random.normal(size=6).astype(np.float32)
    h = b.add(FloatImpute, [x], (2, 6), "float32", fill=fill)
    mean = b.random.normal(size=(1, 6)).astype(np.float32)
    h = b.add(FloatBinary, [h], (2, 6), "float32", kind="sub", constant=mean)
    spread = b.random.uniform(0.2, 3, (2, 1)).astype(np.float32)
    h = b.add(FloatBinary, [h], (2, 6), "float32", kind="div", constant=spread)
    h = b.add(FloatGather, [h], (2, 4), "float32", places=(5, 0, 2, 2))
    weights = b.random.normal(size=(7, 4)).astype(np.float32)
    bias = b.random.normal(size=7).astype(np.float32)
    h = b.add(FloatDense, [h], (2, 7), "float32", weights=weights, bias=bias)
    made = [b.add(FloatUnary, [h], (2, 7), "float32", kind=kind) for kind in UNARY]
    root = b.add(FloatUnary, [made[1]], (2, 7), "float32", kind="sqrt")
    column = b.add(FloatReduce, [h], (2, 1), "float32", kind="sum")
    middle = b.add(FloatReduce, [h], (2, 1), "float32", kind="mean")
    most = b.add(FloatReduce, [h], (2, 1), "float32", kind="max")
    chain = h
    for kind, other in zip(BINARY, (column, middle, most, column, middle, made[4]), strict=True):
        chain = b.add(FloatBinary, [chain, other], (2, 7), "float32", kind=kind)
    least = np.float32([[0.1]])
    fields = {"kind": "sub", "constant": least, "constant_first": True}
    chain = b.add(FloatBinary, [chain], (2, 7), "float32", **fields)
    share = b.add(FloatSoftmax, [chain], (2, 7), "float32")
    where = b.add(ArgMax, [share], (2, 1), "int32")
    side = b.add(FloatConcat, [share, column, *made, root], (2, 50), "float32", axis=1)
    more = b.add(FloatBinary, [share, made[2]], (2, 7), "float32", kind="greater")
    same = b.add(FloatBinary, [h, most], (2, 7), "float32", kind="equal")
    return b.program(side, where, more, same, chain)


def images():
    """Convolutions and pools kept in float, and a transpose of words."""
    b = Builder("images", 7)
    x = b.input((5, 6, 4), "float32")
    weights = b.random.normal(size=(6, 3, 2, 2)).astype(np.float32)
    bias = b.random.normal(size=6).astype(np.float32)
    how = {"stride": (2, 1), "dilation": (1, 2), "pad": (1, 2, 1, 0), "groups": 2}
    shape = (*window_shape(x.shape, (3, 2), (2, 1), (1, 2), (1, 2, 1, 0)), 6)
    h = b.add(FloatConv, [x], shape, "float32", weights=weights, bias=bias, **how)
    pooled = window_shape(shape, (2, 3), (1, 2), pad=(1, 1, 0, 1))
    how = {"kernel": (2, 3), "stride": (1, 2), "pad": (1, 1, 0, 1)}
    made = [
        b.add(FloatPool, [h], (*pooled, 6), "float32", kind=kind, count_pad=whole, **how)
        for kind, whole in (("max", False), ("mean", False), ("mean", True))
    ]
    turned = b.add(Transpose, [made[2]], (6, *pooled), "float32", order=(2, 0, 1))
    negative = b.add(FloatUnary, [turned], turned.shape, "float32", kind="neg")
    return b.program(made[0], made[1], negative)


def bridges():
    """float32 to int8 to float32 in one memory, outputs that are inputs, reshapes or both."""
    b = Builder("bridges", 8)
    x = b.input((4, 5), "float32", name="raw reading")
    stored = b.add(Quantize, [x], (4, 5), unit=0.031, zero=9, low=-100, high=101)
    flat = b.add(Reshape, [stored], (20,), unit=0.031, zero=9, name="int")
    table = np.arange(-128, 128).astype(np.int8)[::-1]
    mapped = b.add(Table, [flat], (20,), table=table, kind="Neg", zero=0)
    real = b.add(Dequantize, [mapped], (20,), "float32", name="out")
    scaled = b.add(FloatBinary, [real], (20,), "float32", kind="mul", constant=np.float32([2]))
    again = b.add(Quantize, [scaled], (20,), unit=0.1, zero=-1)
    back = b.add(Dequantize, [again], (20,), "float32")
    final = b.add(Reshape, [back], (5, 4), "float32")
    same = b.add(Reshape, [x], (20,), "float32", name="raw-reading")
    return b.program(flat, final, back, x, same)


def trees():
    """A forest with gaps in its input, several values a leaf, and a tree that is one leaf."""
    b = Builder("trees", 9)
    x = b.input((6,), "float32")
    h = b.add(
        FloatBinary, [x], (6,), "float32", kind="div", constant=np.float32([-1, 0, -2, 1, 1, -0.0])
    )
    feature, left, right, roots = [], [], [], []
    for depth in (3, 0, 5):
        roots.append(len(feature))
        _grow(b.random, depth, feature, left, right)
    nodes = len(feature)
    leaf = b.random.normal(size=(nodes, 2)).astype(np.float32)
    leaf[np.array(feature) >= 0] = 0
    forest = {
        "roots": np.array(roots, np.int32),
        "feature": np.array(feature, np.int16),
        "threshold": b.random.normal(size=nodes).astype(np.float32),
        "left": np.array(left, np.int32),
        "right": np.array(right, np.int32),
        "missing_left": b.random.random(nodes) < 0.5,
        "leaf": leaf,
        "base": np.float32([0.25, -1]),
    }
    return b.program(b.add(Trees, [h], (2,), "float32", **forest))


def gaps():
    """Random rows with what floats have at their edges."""
    return np.float32([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-42, -3e38, 88.9, -104.5, 9.01])


def _grow(random, depth, feature, left, right):
    """Append a random tree; its node's place."""
    place = len(feature)
    feature.append(-1)
    left.append(0)
    right.append(0)
    if depth:
        feature[place] = int(random.integers(6))
        right[place] = _grow(random, int(random.integers(depth)), feature, left, right)
        left[place] = _grow(random, depth - 1, feature, left, right)
    return place


SAMPLES = (dense, conv, series, pools, elements, floats, images, bridges, trees)
