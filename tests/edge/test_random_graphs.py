"""Random graphs of every supported operator, exact on every core or refused by name."""

import numpy as np
import onnx
import pytest
from onnx import helper

from edge.compile.mcu import rows_of
from edge.program import FloatBinary
from edge.quantize import quantize
from firnline.contracts.quantize import Quantize
from tests.edge.mcu.programs import Builder
from tests.edge.quantize import nets
from tests.edge.random_graphs import check_many
from tests.edge.random_images import computed, differing
from tests.edge.random_nets import Case
from tests.edge.random_onnx import Made, made

GRAPHS = 40
ROWS = 40


def test_random_graphs_are_exact_or_refused_by_name():
    found = check_many(GRAPHS, together=7)

    assert found.failures == []
    assert found.bytes_differ == 0
    assert found.exact + found.refused == GRAPHS
    assert found.exact > 30


def case(nodes, shape, last, sizes, how=None, **constants):
    """A graph of some nodes that end in `y`, its weights random."""
    random = np.random.default_rng(7)
    held = {name: nets.weights(random, *size) for name, size in sizes.items()} | constants
    graph = onnx.load_from_string(nets.model(nodes, held, shape, ["y"]))
    given = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["rows", *last])
    graph.graph.output[0].CopyFrom(given)
    rows = random.normal(size=(ROWS, *shape)).astype(np.float32)
    return Case(graph.SerializeToString(), rows, how or Quantize(), "int8", None, ())


def float_layer(operator, size, shape, last, **attributes):
    """A layer in float between two in int8, which ONNX Runtime must not quantise by itself.

    One channel's weights are a hundred times the others', and Relu cuts it off.
    """
    nodes = [
        nets.node(operator, "x w1", "a", **attributes),
        nets.node(operator, "a w2 b2", "b", **attributes),
        nets.node("Relu", "b", "br"),
        nets.node(operator, "br w3", "y", **attributes),
    ]
    wide = nets.weights(np.random.default_rng(8), *size)
    wide[0] *= 100
    bias = np.array([-1e4] + [0] * (size[0] - 1), np.float32)
    how = Quantize(float_layers=("node/b",))
    return case(nodes, shape, last, {"w1": size, "w3": size}, how, w2=wide, b2=bias)


def float_gemm():
    return float_layer("Gemm", (6, 6), (6,), (6,), transB=1)


def float_conv():
    return float_layer("Conv", (5, 5, 1), (5, 7), (5, 7))


def window_behind_the_image():
    """`ceil_mode` whose last window would begin behind the image: there is no such window."""
    nodes = [
        nets.node("Conv", "x w1", "a"),
        nets.node("MaxPool", "a", "b", kernel_shape=[2], strides=[3], ceil_mode=1),
        nets.node("Flatten", "b", "c"),
        nets.node("Gemm", "c w2", "y", transB=1),
    ]
    return case(nodes, (2, 6), (4,), {"w1": (3, 2, 1), "w2": (4, 6)})


def picked_before_a_convolution():
    """A choice of columns that no transposition makes."""
    nodes = [
        nets.node("Gather", "x places", "a", axis=2),
        nets.node("Conv", "a w1", "y"),
    ]
    places = np.array([3, 0, 3, 1])
    return case(nodes, (2, 5), (3, 4), {"w1": (3, 2, 1)}, places=places)


def reshaped_across_channels():
    """Six channels of three, seen as nine of two: an order that no transposition makes."""
    nodes = [
        nets.node("Conv", "x w1", "a"),
        nets.node("Reshape", "a wanted", "b"),
        nets.node("Conv", "b w2", "y"),
    ]
    sizes = {"w1": (6, 2, 1), "w2": (3, 9, 1)}
    return case(nodes, (2, 3), (3, 2), sizes, wanted=np.array([0, 9, 2]))


def elu_at_the_end():
    nodes = [nets.node("Gemm", "x w1", "a", transB=1), nets.node("Elu", "a", "y", alpha=0.3)]
    return case(nodes, (5,), (4,), {"w1": (4, 5)})


def hardly_any_range():
    """A value that is the same on all rows, and its entropy."""
    nodes = [
        nets.node("Gemm", "x w1 b1", "a", transB=1),
        nets.node("Relu", "a", "b"),
        nets.node("Gemm", "b w2", "y", transB=1),
    ]
    how = Quantize(ranges="entropy")
    nought = np.zeros((3, 5), np.float32)
    bias = np.full(3, 2.5, np.float32)
    return case(nodes, (5,), (2,), {"w2": (2, 3)}, how, w1=nought, b1=bias)


FOUND = [
    float_gemm,
    float_conv,
    window_behind_the_image,
    picked_before_a_convolution,
    reshaped_across_channels,
    elu_at_the_end,
    hardly_any_range,
]
"""What random graphs have found, each as small as it gets."""


@pytest.fixture(scope="module")
def regressions():
    return {one.__name__: made(one(), one.__name__) for one in FOUND}


@pytest.mark.parametrize("name", [one.__name__ for one in FOUND])
def test_the_reference_is_onnx_runtimes(name, regressions):
    assert regressions[name].problems == []


def small_quotients():
    """Subnormal quotients, some of them half way: libraries for cores without a unit cut them."""
    random = np.random.default_rng(1)
    shape = (ROWS, 500)
    with np.errstate(all="ignore"):
        a = np.ldexp(random.normal(size=shape), random.integers(-149, 30, shape))
        b = np.ldexp(random.normal(size=shape), random.integers(-60, 127, shape))
        a[0], b[0] = np.ldexp(random.integers(1, 64, 500), -149), 2.0 ** random.integers(0, 4, 500)
        edges = [0, -0.0, np.inf, -np.inf, np.nan, 1e-45, 1, 3, 1.1754944e-38, 3e38]
        a[1], b[1] = random.choice(edges, (2, 500))
        a, b = a.astype(np.float32), b.astype(np.float32)
        quotient = a / b
    build = Builder("small_quotients")
    x, y = (build.input((500,), "float32", name) for name in "ab")
    program = build.program(build.add(FloatBinary, [x, y], (500,), "float32", kind="div"))
    return Made(program, {"a": a, "b": b}, {program.outputs[0]: quotient}, [])


@pytest.mark.parametrize("core", ["cortex-m0", "rv32imc"])
def test_a_core_gives_the_references_bytes(core, regressions):
    graphs = [*regressions.values(), small_quotients()]
    rows = [rows_of(one.program, one.inputs) for one in graphs]

    outputs, _, _ = computed([one.program for one in graphs], rows, core)

    assert [differing(one, raw) for one, raw in zip(graphs, outputs, strict=True)] == [0] * 8


def test_a_byte_that_differs_is_seen(regressions):
    one = regressions["elu_at_the_end"]
    raw = one.outputs["y"].view(np.uint8).reshape(ROWS, -1).copy()

    assert differing(one, raw) == 0
    raw[3, 2] ^= 1
    assert differing(one, raw) == 1


def test_a_float_layer_is_none_that_onnx_runtime_quantises():
    net = float_gemm()
    graph = onnx.load_from_string(quantize(net.model, net.rows, net.how).model).graph

    assert [node.op_type for node in graph.node if node.op_type in ("Gemm", "Neg")] == [
        "Gemm",
        "Gemm",
        "Neg",
        "Gemm",
    ]
