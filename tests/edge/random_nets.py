"""A Hypothesis strategy of small float graphs: vectors, series and images through every operator.

A graph is a float head, layers with what stands between them, and a float tail. Some hold one
operator that nobody supports, which must be refused by its name and its node's.
"""

import itertools
from dataclasses import dataclass

import numpy as np
import onnx
from hypothesis import strategies as st
from onnx import helper

from firnline.contracts.quantize import Quantize
from tests.edge.random_drawing import Drawing

UNSUPPORTED = ("CumSum", "Selu", "LpNormalization", "PRelu", "Celu", "Sin", "Mod", "Hardmax")
"""Operators of the default domain that keep a value's shape, and that nothing here computes."""

_ACTIVATIONS = ("Relu", "Relu", "Relu", "Clip", "Sigmoid", "Tanh", "LeakyRelu", "HardSigmoid",
                "HardSwish", "Elu")  # fmt: skip
_LARGEST = 1500


@dataclass(frozen=True)
class Case:
    """A float graph and how it is to be exported.

    Attributes:
        model: ONNX bytes.
        rows: float32 [rows, *shape] to calibrate and to prove it on.
        how: For the quantiser.
        io: What the device takes and gives.
        unsupported: Operator and node that must be refused; None in a supported graph.
        refusable: Such pairs, one of which is named where the graph is refused.
    """

    model: bytes
    rows: np.ndarray
    how: Quantize
    io: str
    unsupported: tuple[str, str] | None
    refusable: tuple[tuple[str, str], ...]

    def __repr__(self):
        graph = onnx.load_from_string(self.model).graph
        shapes = {item.name: list(item.dims) for item in graph.initializer}
        lines = [
            f"{node.op_type} {node.name}: {[(name, shapes.get(name)) for name in node.input]} -> "
            f"{list(node.output)} "
            + " ".join(f"{a.name}={helper.get_attribute_value(a)}" for a in node.attribute)
            for node in graph.node
        ]
        outputs = [output.name for output in graph.output]
        return "\n".join([f"{self.rows.shape} {self.how!r} io={self.io} {outputs}", *lines])


class _Net(Drawing):
    """Layers, what stands between them, and both ends; each gives the value it makes."""

    # Layers.

    def gemm(self, x, width=None):
        columns = self.shapes[x][1]
        width = width or self.choose(1, 2, 3, 5, 8, 13, 16, 17, 33)
        weights = self.weights(width, columns)
        how = self.choose("gemm", "gemm", "plain", "matmul", "matmul+add", "scaled")
        if how.startswith("matmul"):
            made = self.node("MatMul", x, self.constant(weights.T))
            plain = how == "matmul"
            return made if plain else self.node("Add", made, self.constant(self.vector(width)))
        bias = [] if how == "plain" else [self.constant(self.vector(width))]
        scaled = {"alpha": 0.5, "beta": 2.0} if how == "scaled" else {}
        if self.often(50):
            return self.node("Gemm", x, self.constant(weights), *bias, transB=1, **scaled)
        return self.node("Gemm", x, self.constant(weights.T), *bias, **scaled)

    def conv(self, x, keep=False):
        shape = self.shapes[x]
        axes, channels = len(shape) - 2, shape[1]
        groups = self.choose(1, 1, 1, channels, *(n for n in (2, 3, 4) if channels % n == 0))
        width = channels if keep else groups * self.choose(1, 2, 3, 4, 5, 8, 11, 16)
        width = width if keep or width <= 33 else groups
        kernel = [self.whole(1, min(5, size)) for size in shape[2:]]
        kernel = [size - (size % 2 == 0) if keep else size for size in kernel]
        dilations = [self.choose(1, 1, 1, 2, 3) for _ in kernel]
        spans = [(size - 1) * step + 1 for size, step in zip(kernel, dilations, strict=True)]
        attributes = {"dilations": dilations, "group": groups}
        if keep:
            attributes["pads"] = [span // 2 for span in spans] * 2
        elif self.often(15) and max(dilations) == 1:
            attributes["auto_pad"] = self.choose("SAME_UPPER", "SAME_LOWER", "VALID")
            attributes["strides"] = [self.whole(1, 3) for _ in kernel]
        else:
            lacking = [max(span - size, 0) for span, size in zip(spans, shape[2:], strict=True)]
            before = [self.whole((gap + 1) // 2, (gap + 1) // 2 + 2) for gap in lacking]
            after = [self.whole((gap + 1) // 2, (gap + 1) // 2 + 2) for gap in lacking]
            attributes["pads"] = before + after
            attributes["strides"] = [self.whole(1, 3) for _ in kernel]
        weights = self.constant(self.weights(width, channels // groups, *kernel))
        bias = [self.constant(self.vector(width))] if self.often(75) else []
        return self.node("Conv", x, weights, *bias, kernel_shape=kernel[:axes], **attributes)

    def rows(self, x):
        """MatMul over the last axis of a series."""
        made = self.node("MatMul", x, self.constant(self.weights(self.shapes[x][-1], 4)))
        return self.node("Add", made, self.constant(self.vector(4))) if self.often(60) else made

    def layer(self, x):
        rank = len(self.shapes[x])
        if rank == 2:
            made = self.gemm(x)
        elif rank == 3 and self.often(15):
            made = self.rows(x)
        else:
            made = self.conv(x)
        made = self.normalised(made) if self.often(20) else made
        return self.activation(made) if self.often(60) else made

    # Between layers.

    def normalised(self, x):
        size = self.shapes[x][1]
        parts = [self.vector(size, 0.5, 1.5), self.vector(size), self.vector(size)]
        parts.append(self.vector(size, 0.3, 2))
        return self.node("BatchNormalization", x, *map(self.constant, parts))

    def activation(self, x, kind=None):
        kind = kind or self.choose(*_ACTIVATIONS)
        if kind == "Clip":
            low, high = self.choose((0.0, 6.0), (-1.0, 1.0), (None, 0.5), (0.1, None))
            bounds = ["" if n is None else self.constant(np.float32(n)) for n in (low, high)]
            return self.node("Clip", x, *(bounds if bounds[1] else bounds[:1]))
        given = kind in ("LeakyRelu", "Elu", "HardSigmoid") and self.often(50)
        alpha = {"alpha": 0.1} if given else {}
        return self.node(kind, x, **alpha)

    def pool(self, x):
        sizes = self.shapes[x][2:]
        kind = self.choose("MaxPool", "MaxPool", "AveragePool", "GlobalAveragePool", "mean",
                           "GlobalMaxPool")  # fmt: skip
        if kind == "mean":
            axes = list(range(2, 2 + len(sizes)))
            return self.node("ReduceMean", x, axes=axes, keepdims=self.whole(0, 1))
        if kind.startswith("Global"):
            return self.node(kind, x)
        kernel = [self.whole(1, min(size, 4)) for size in sizes]
        attributes = {"strides": [self.whole(1, 3) for _ in sizes]}
        if self.often(60):
            # Padding is less than the window, so that each one has something in it.
            attributes["pads"] = [self.whole(0, (size - 1) // 2) for size in kernel * 2]
        if kind == "MaxPool" and self.often(20):
            attributes["ceil_mode"] = 1
        if kind == "AveragePool" and self.often(40):
            attributes["count_include_pad"] = 1
        return self.node(kind, x, kernel_shape=kernel, **attributes)

    def sum(self, x):
        """A residual: a layer of the same shape, added to what went in."""
        rank = len(self.shapes[x])
        other = self.gemm(x, self.shapes[x][1]) if rank == 2 else self.conv(x, keep=True)
        other = self.activation(other) if self.often(30) else other
        if self.often(20):
            other = x if self.often(20) else other
        pair = (x, other) if self.often(50) else (other, x)
        made = self.node(self.choose("Add", "Add", "Sum"), *pair)
        return self.activation(made, "Relu") if self.often(50) else made

    def concat(self, x):
        rank = len(self.shapes[x])
        parts = [x] if self.often(40) else []
        for _ in range(self.whole(2, 3) - len(parts)):
            made = self.gemm(x) if rank == 2 else self.conv(x, keep=True)
            parts.append(self.activation(made) if self.often(50) else made)
        axis = 1 if rank == 2 else self.whole(1, rank - 1)
        return self.node("Concat", *parts, axis=axis - rank if self.often(20) else axis)

    def moved(self, x):
        shape = self.shapes[x]
        if len(shape) == 2:
            options = [n for n in range(1, shape[1] + 1) if shape[1] % n == 0]
            parts = self.choose(*options)
            if self.often(30):
                return self.node("Unsqueeze", x, self.constant(np.array([self.whole(1, 2)])))
            rest = shape[1] // parts
            wanted = (1, parts, rest) if self.often(60) else (1, parts, 1, rest)
            return self.node("Reshape", x, self.constant(np.array(wanted)))
        how = self.choose("flatten", "flatten", "reshape", "transpose", "squeeze")
        if how == "transpose":
            orders = list(itertools.permutations(range(1, len(shape))))
            return self.node("Transpose", x, perm=[0, *self.choose(*orders)])
        single = [axis for axis in range(1, len(shape)) if shape[axis] == 1]
        if how == "squeeze" and single and len(shape) > 2:
            return self.node("Squeeze", x, self.constant(np.array(single[:1])))
        if how == "reshape":
            wanted = [1, -1] if self.often(50) else [0, shape[1], -1]
            return self.node("Reshape", x, self.constant(np.array(wanted)))
        return self.node("Flatten", x, axis=1)

    def between(self, x):
        rank = len(self.shapes[x])
        steps = [self.sum, self.concat, self.moved, self.activation]
        steps += [self.softmax] if self.often(20) else []
        steps += [self.idle] if self.often(20) else []
        steps += [self.pool, self.pool] if rank > 2 else []
        steps += [self.scaled] if self.often(10) else []
        return self.choose(*steps)(x)

    def idle(self, x):
        """What does nothing, or is a part of the layer behind it."""
        rank = len(self.shapes[x])
        kind = self.choose("Identity", "Dropout", *(["Pad"] if rank > 2 else []))
        if kind != "Pad":
            return self.node(kind, x)
        pads = [self.whole(0, 2) for _ in range(2 * rank - 4)]
        both = [0, 0, *pads[: rank - 2], 0, 0, *pads[rank - 2 :]]
        return self.conv(self.node("Pad", x, self.constant(np.array(both))))

    def softmax(self, x):
        return self.node("Softmax", x, axis=-1)

    def scaled(self, x):
        """A normalisation that was written as arithmetic."""
        kind = self.choose("Mul", "Add", "Sub", "Div")
        size = self.shapes[x][1]
        shape = (1, size, *[1] * (len(self.shapes[x]) - 2))
        factors = self.constant(self.vector(size, 0.5, 2).reshape(shape))
        made = self.node(kind, x, factors)
        # A layer takes it where it follows one; elsewhere there is no integer form.
        self.refusable.append((kind, self.nodes[-1].name))
        return made

    # Ends.

    def head(self, x):
        """Imputing, standardising, choosing and clipping: what comes before the first layer."""
        size = self.shapes[x][1:]
        prefix = self.choose("net", "preprocess")
        gaps = self.often(30)
        if gaps:
            missing = self.node("IsNaN", x, prefix=prefix)
            fill = self.constant(self.vector(size if self.often(70) else 1))
            x = self.node("Where", missing, fill, x, prefix=prefix)
        if self.often(40):
            columns = (1, size[0], *[1] * (len(size) - 1))
            x = self.node("Sub", x, self.constant(self.vector(columns)), prefix=prefix)
            kind = self.choose("Mul", "Div")
            x = self.node(kind, x, self.constant(self.vector(columns, 0.5, 2)), prefix=prefix)
        if self.often(20):
            places = self.random.integers(0, size[-1], self.whole(1, size[-1] + 2))
            x = self.node("Gather", x, self.constant(places), prefix=prefix, axis=len(size))
        if self.often(10) and self.shapes[x][-1] > 2:
            cut = [self.constant(np.array([place])) for place in (1, 2**31 - 1, -1, 1)]
            x = self.node("Slice", x, *cut, prefix=prefix)
        if self.often(20):
            bounds = [self.constant(np.float32(bound)) for bound in (-1.5, 1.5)]
            x = self.node("Clip", x, *bounds, prefix=prefix)
        return x, gaps

    def tail(self, x):
        rank = len(self.shapes[x])
        last = rank - 1
        how = self.choose("none", "none", "softmax", "best", "size", "score", "sigmoid", "choice")
        if how == "softmax":
            return self.node("Softmax", x, axis=last)
        if how == "sigmoid":
            return self.node(self.choose("Sigmoid", "Tanh", "Exp"), x)
        if how == "choice":
            return self.node("ArgMax", x, axis=last, keepdims=self.whole(0, 1))
        if how == "best":
            x = self.node("Softmax", x, axis=last)
            return self.node("ArgMax", x, axis=last, keepdims=0)
        if how == "size":
            axes = self.constant(np.array([last]))
            total = self.node("ReduceSum", self.node("Mul", x, x), axes, keepdims=1)
            return self.node("Sqrt", total)
        if how == "score":
            x = self.node("ReduceMean", x, axes=list(range(1, rank)), keepdims=0)
            x = self.node("Sub", x, self.constant(np.array([0.1], np.float32)))
            over = self.node("Greater", x, self.constant(np.array([0.02], np.float32)))
            return self.node("Cast", over, to=1)
        return x

    def unsupported(self, x):
        kind = self.choose(*UNSUPPORTED)
        second = {
            "CumSum": np.array(1),
            "PRelu": np.array([0.1], np.float32),
            "Mod": np.array([0.7], np.float32),
        }
        read = [x, *([self.constant(second[kind])] if kind in second else [])]
        made = self.node(kind, *read, **({"fmod": 1} if kind == "Mod" else {}))
        self.refused = (kind, self.nodes[-1].name)
        self.refusable.append(self.refused)
        return made


@st.composite
def cases(draw, *, shrinking=False):
    """A graph with its rows and how it is exported.

    Every choice is as likely as the others of its kind; or, `shrinking`, is one of Hypothesis's
    own, which makes a failing graph small and repeats itself more.
    """
    seed = draw(st.integers(0, 2**64 - 1))
    chance = np.random.default_rng(seed)
    if shrinking:
        return _drawn(_Net(lambda low, high: draw(st.integers(low, max(low, high))), seed))
    return _drawn(
        _Net(lambda low, high: int(chance.integers(low, max(low, high), endpoint=True)), seed)
    )


def _drawn(net):
    rank = net.choose(2, 3, 4)
    shape = {
        2: lambda: (net.choose(1, 2, 7, 16, 33, 60),),
        3: lambda: (net.choose(1, 2, 3, 7, 14), net.whole(2, 24)),
        4: lambda: (net.choose(1, 2, 3, 4, 8), net.whole(1, 9), net.whole(1, 9)),
    }[rank]()
    net.shapes["x"] = (1, *shape)
    x, gaps = net.head("x") if net.often(50) else ("x", False)
    place = net.choose("before", "between", "behind") if net.often(8) else ""
    x, seen = net.layer(net.unsupported(x) if place == "before" else x), []
    for _ in range(net.whole(0, 4)):
        made = (net.layer if net.often(50) else net.between)(x)
        if np.prod(net.shapes[made]) <= _LARGEST:
            seen.append(x)
            x = made
    x = net.layer(net.unsupported(x) if place == "between" else x)
    if len(net.shapes[x]) > 2 and net.often(60):
        x = net.gemm(net.node("Flatten", x))
    if net.often(15):
        seen.append(x)
    x = net.tail(net.unsupported(x) if place == "behind" else x)
    outputs = [x] + ([net.choose(*seen)] if seen and net.often(25) else [])
    model, rows, how = net.model(shape, outputs), net.given(shape, gaps), _how(net)
    return Case(model, rows, how, net.io(), net.refused, tuple(net.refusable))


def _how(net):
    ranges = net.choose("observed", "observed", "observed", "clip", "percentile", "entropy")
    layers = [node.name for node in net.nodes if node.op_type in ("Gemm", "MatMul", "Conv")]
    kept = (net.choose(*layers),) if len(layers) > 1 and net.often(15) else ()
    return Quantize(
        ranges=ranges,
        percentile=99.0 if ranges == "percentile" else 99.99,
        per_channel=net.often(70),
        reduce_range=net.often(25),
        rounding=net.choose("nearest", "compensated"),
        float_layers=kept,
        float_outputs=net.often(10),
    )
