"""Quantised graphs of every operator: lowered, they give ONNX Runtime's bytes, all of them.

ONNX Runtime multiplies int8 exactly on hosts with VNNI alone; elsewhere weights of 7 bits are
what it takes without saturating, so that those are what is compared there.
"""

import numpy as np
import pytest

from edge.lower import lower
from edge.reference import run
from tests.edge.lower import graphs

BITS = 8 if graphs.has_vnni() else 7
RELU = np.int8(-128)


class Net(graphs.Graph):
    """A graph that begins with a quantised input; its layers are quantised, too."""

    def begin(self, *shape):
        grid = self.grid()
        return self.pair(self.input(*shape), grid), grid

    def gemm(self, x, grid, size, relu=False, per_channel=True, bias=True, rows_last=True):
        shape = size if rows_last else size[::-1]
        axis = 0 if rows_last else 1
        weights, scale = self.weights(shape, axis, BITS, per_channel)
        inputs = [x, weights] + ([self.bias(size[0], grid[0], scale)] if bias else [])
        return self.finished(self.node("Gemm", *inputs, transB=int(rows_last)), relu)

    def conv(self, x, grid, size, relu=True, per_channel=True, **attributes):
        weights, scale = self.weights(size, 0, BITS, per_channel)
        bias = self.bias(size[0], grid[0], scale)
        made = self.node("Conv", x, weights, bias, kernel_shape=list(size[2:]), **attributes)
        return self.finished(made, relu)

    def finished(self, made, relu):
        scale, zero = self.grid(0.02, 0.5)
        made = self.node("Relu", made) if relu else made
        grid = (scale, RELU if relu else zero)
        return self.pair(made, grid), grid

    def closed(self, value):
        self.output(value)
        return self


def dense(net):
    x, grid = net.begin(20)
    y, grid = net.gemm(x, grid, (11, 20))
    y, grid = net.gemm(y, grid, (7, 11), relu=True, per_channel=False)
    y, grid = net.gemm(y, grid, (5, 7), bias=False, rows_last=False)
    return net.closed(y)


def dense_in_rows(net):
    x, _ = net.begin(6, 20)
    weights, _ = net.weights((20, 9), 1, BITS)
    return net.closed(net.pair(net.node("MatMul", x, weights), net.grid(0.1, 0.5)))


def dense_to_float(net):
    x, grid = net.begin(20)
    weights, scale = net.weights((9, 20), 0, BITS)
    return net.closed(net.node("Gemm", x, weights, net.bias(9, grid[0], scale), transB=1))


def series(net):
    x, grid = net.begin(14, 64)
    y, grid = net.conv(x, grid, (32, 14, 5), pads=[2, 2])
    y, grid = net.conv(y, grid, (16, 32, 3), relu=False, strides=[2], dilations=[2])
    y = net.pair(net.node("Flatten", y), grid)
    return net.closed(net.gemm(y, grid, (10, 480))[0])


def images(net):
    x, grid = net.begin(3, 12, 10)
    y, grid = net.conv(x, grid, (8, 3, 3, 3), pads=[1, 1, 1, 1])
    y, grid = net.conv(y, grid, (8, 1, 3, 3), per_channel=False, group=8, strides=[2, 2])
    y, grid = net.conv(y, grid, (6, 8, 1, 1), relu=False)
    y, grid = net.conv(y, grid, (4, 3, 2, 3), group=2, auto_pad="SAME_UPPER")
    return net.closed(y)


def pools(net):
    x, grid = net.begin(8, 12, 10)
    y = net.node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4, ceil_mode=1)
    y = net.pair(y, grid)
    y = net.pair(net.node("AveragePool", y, kernel_shape=[3, 2], pads=[1, 1, 1, 1]), grid)
    y = net.node("AveragePool", y, kernel_shape=[3, 3], pads=[1] * 4, count_include_pad=1)
    return net.closed(net.pair(net.node("GlobalAveragePool", net.pair(y))))


def pools_of_series(net):
    x, grid = net.begin(8, 32)
    y = net.pair(net.node("MaxPool", x, kernel_shape=[3], strides=[2], pads=[1, 1]), grid)
    y = net.pair(net.node("AveragePool", y, kernel_shape=[4], strides=[2]))
    return net.closed(net.node("GlobalMaxPool", y))


def sums(net):
    x, _ = net.begin(8, 12)
    y = net.pair(net.node("Add", x, net.pair(net.input(8, 12))))
    z = net.pair(net.node("Relu", net.node("Add", x, y)), (np.float32(0.1), RELU))
    return net.closed(net.pair(net.node("Add", z, z), (net.grid()[0], np.int8(7))))


def functions(net):
    x, _ = net.begin(300)
    grid = np.float32(1 / 128), np.int8(0)
    parts = [net.node("LeakyRelu", x), net.node("HardSigmoid", x), net.node("Relu", x)]
    bounds = [net.constant(np.float32(bound)) for bound in (-1.5, 6)]
    parts.append(net.node("Clip", x, *bounds))
    parts.append(net.node("Mul", net.node("Neg", x), net.constant(np.float32(0.3))))
    for part in parts:
        net.closed(net.pair(part, grid))
    y = net.pair(net.node("Abs", x), (np.float32(0.05), RELU))
    return net.closed(net.pair(net.node("HardSwish", y)))


def softmax(net):
    x, _ = net.begin(12)
    y = net.pair(net.node("Softmax", x, axis=-1), (np.float32(1 / 256), RELU))
    z = net.pair(net.node("Softmax", x, axis=-1), (np.float32(1 / 200), np.int8(-100)))
    return net.closed(y).closed(z)


def branches(net):
    x, grid = net.begin(14, 40)
    y, grid = net.conv(x, grid, (32, 14, 5))
    z, _ = net.conv(y, grid, (32, 32, 1), relu=False)
    y = net.pair(net.node("Add", y, z))
    return net.closed(net.pair(net.node("Concat", y, z, net.pair(y), axis=1)))


def moves(net):
    x, grid = net.begin(6, 12)
    y = net.pair(net.node("Transpose", x, perm=[0, 2, 1]), grid)
    y = net.pair(net.node("Unsqueeze", y, net.constant(np.array([2]))), grid)
    y = net.pair(net.node("Reshape", y, net.constant(np.array([0, -1]))), grid)
    return net.closed(net.gemm(y, grid, (9, 72))[0])


def picked(net):
    """What is picked out of int8 goes into the weights of the layer behind."""
    x, grid = net.begin(20)
    y = net.pair(net.node("Gather", x, net.constant(np.array([3, 1, 19, 7])), axis=1), grid)
    return net.closed(net.gemm(y, grid, (5, 4))[0])


def differences(net):
    """Sub has no integer kernel in ONNX Runtime: float32 in between, here as there."""
    x, grid = net.begin(9)
    y, _ = net.gemm(x, grid, (9, 9))
    left = net.node("Sub", x, y)
    bounds = [net.constant(np.float32(bound)) for bound in (-3, 3)]
    return net.closed(net.pair(net.node("Clip", left, *bounds)))


def constants(net):
    """The bias of a MatMul as ONNX Runtime's own quantiser leaves it: a quantised constant."""
    x, _ = net.begin(20)
    weights, _ = net.weights((20, 9), 1, BITS)
    y = net.pair(net.node("MatMul", x, weights), net.grid(0.1, 0.5))
    stored = net.random.integers(-128, 128, 9).astype(np.int8)
    held = [net.constant(item) for item in (stored, np.float32(0.03), np.int8(11))]
    return net.closed(net.pair(net.node("Add", net.node("DequantizeLinear", *held), y)))


ALL = [
    *(dense, dense_in_rows, dense_to_float, series, images, pools, pools_of_series, sums),
    *(functions, softmax, branches, moves, picked, differences, constants),
]


def given(net, rows, random):
    shapes = {
        item.name: [axis.dim_value for axis in item.type.tensor_type.shape.dim[1:]]
        for item in net.inputs
    }
    return {
        name: random.normal(0, 3, (rows, *shape)).astype(np.float32)
        for name, shape in shapes.items()
    }


@pytest.mark.parametrize("build", ALL)
def test_every_byte_is_onnx_runtimes(build):
    for seed in range(3):
        random = np.random.default_rng(seed)
        net = build(Net(random))
        model, x = net.bytes(), given(net, 40, random)
        made, expected = run(lower(model, "net"), x), graphs.run(model, x)
        for name, wanted in expected.items():
            assert made[name].shape == wanted.shape
            assert made[name].tobytes() == wanted.tobytes(), f"{name}, seed {seed}"


@pytest.mark.parametrize("build", [dense, images, branches, sums])
def test_int8_comes_and_goes_as_it_is(build):
    random = np.random.default_rng(9)
    net = build(Net(random))
    model, x = net.bytes(), given(net, 8, random)
    whole, bare = lower(model, "net"), lower(model, "net", io="int8")
    stored = {}
    for name in bare.inputs:
        value = bare.values[name]
        assert value.dtype == "int8"
        steps = np.rint(x[name] / np.float32(value.scale)) + value.zero
        stored[name] = np.clip(steps, -128, 127).astype(np.int8)
    made = run(bare, stored)["y0"]
    value = bare.values["y0"]
    reals = (made.astype(np.float32) - value.zero) * np.float32(value.scale)
    assert made.dtype == np.int8 and (reals == run(whole, x)["y0"]).all()


def test_sigmoid_and_tanh_differ_from_onnx_runtime_next_to_ties_alone():
    """Its approximations differ from host to host; ours are the true values, rounded."""
    random = np.random.default_rng(3)
    different, total = 0, 0
    for _ in range(8):
        net = Net(random)
        x, _ = net.begin(256)
        for operator in ("Sigmoid", "Tanh"):
            net.closed(net.pair(net.node(operator, x), (np.float32(1 / 128), np.int8(0))))
        model, values = net.bytes(), given(net, 20, random)
        made, expected = run(lower(model, "net"), values), graphs.run(model, values)
        for name, wanted in expected.items():
            steps = np.abs(made[name] - wanted) * 128
            different, total = different + int((steps > 0).sum()), total + steps.size
            assert steps.max() <= 1
    assert different <= total / 1000


def test_a_graph_of_onnx_runtimes_own_form_with_uint8():
    """Activations in uint8 are those in int8, 128 further up."""
    random = np.random.default_rng(4)
    net = Net(random)
    scale, zero = np.float32(0.05), np.uint8(131)
    x = net.pair(net.input(14, 20), (scale, zero))
    weights, scales = net.weights((8, 14, 3), 0, BITS)
    y = net.node("Conv", x, weights, net.bias(8, scale, scales), kernel_shape=[3])
    y = net.pair(net.node("Relu", y), (np.float32(0.2), np.uint8(0)))
    net.closed(net.pair(net.node("Sigmoid", y), (np.float32(1 / 256), np.uint8(0))))
    model, values = net.bytes(), given(net, 30, random)
    program = lower(model, "net")
    assert {value.dtype for value in program.values.values()} == {"float32", "int8"}
    assert run(program, values)["y0"].tobytes() == graphs.run(model, values)["y0"].tobytes()


class Random(Net):
    """Random chains and branches of a series' operators, then one of its ends."""

    def grown(self):
        x, grid = self.begin(int(self.random.integers(2, 9)), int(self.random.integers(9, 30)))
        channels = self.shape[0]
        for _ in range(self.random.integers(1, 6)):
            x, grid, channels = self.step(x, grid, channels)
        y = self.pair(self.node("GlobalAveragePool", x))
        return self.closed(x).closed(y)

    def begin(self, *shape):
        self.shape = shape
        return super().begin(*shape)

    def step(self, x, grid, channels):
        wanted = int(self.random.integers(1, 9))
        match self.random.integers(7):
            case 0:
                made = self.conv(x, grid, (wanted, channels, 3), relu=wanted > 4, pads=[1, 1])
                return *made, wanted
            case 1:
                size = (channels, 1, 3)
                made = self.conv(x, grid, size, group=channels, dilations=[2], pads=[2, 2])
                return *made, channels
            case 2:
                y = self.node("MaxPool", x, kernel_shape=[3], pads=[1, 1])
                return self.pair(y, grid), grid, channels
            case 3:
                y, pool = self.grid(), self.node("AveragePool", x, kernel_shape=[3], pads=[1, 1])
                return self.pair(pool, y), y, channels
            case 4:
                other, _ = self.conv(x, grid, (channels, channels, 1), relu=False)
                made = self.grid(0.05, 0.3)
                return self.pair(self.node("Add", x, other), made), made, channels
            case 5:
                other, _ = self.conv(x, grid, (wanted, channels, 1))
                made = self.grid(0.05, 0.3)
                y = self.node("Concat", x, other, axis=1)
                return self.pair(y, made), made, channels + wanted
            case _:
                made = np.float32(0.05), np.int8(-20)
                return self.pair(self.node("LeakyRelu", x), made), made, channels


@pytest.mark.parametrize("seed", range(20))
def test_random_graphs_are_exact(seed):
    random = np.random.default_rng(seed)
    net = Random(random).grown()
    model, x = net.bytes(), given(net, 6, random)
    made, expected = run(lower(model, "net"), x), graphs.run(model, x)
    for name, wanted in expected.items():
        assert made[name].tobytes() == wanted.tobytes(), name
