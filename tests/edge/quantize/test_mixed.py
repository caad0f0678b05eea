import numpy as np

from edge.quantize.mixed import damage, ranked
from firnline.contracts.quantize import Quantize
from tests.edge.quantize.nets import model, node, rows_for, weights


def test_damage_finds_the_layer_that_suffers_most():
    random = np.random.default_rng(2)
    uneven = weights(random, 8, 8)
    uneven[:, 0] *= 300
    constants = {"u": uneven, "v": weights(random, 8, 8)}
    rows = rows_for((8,), 300)
    rows[:, 0] /= 300
    nodes = [
        node("Gemm", "x v", "first", transB=1),
        node("Relu", "first", "r"),
        node("Gemm", "x u", "second", transB=1),
        node("Add", "r second", "y"),
    ]
    made = model(nodes, constants, (8,), ["y"])
    found = damage(made, rows, Quantize())
    assert ranked(made, rows, Quantize(float_layers=("node/second",))) == ("node/first",)
    assert [name for name, _ in found] == ["node/second", "node/first"]
    assert found[0][1] > 4 * found[1][1]
