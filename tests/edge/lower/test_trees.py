"""Trees of ai.onnx.ml, lowered, against ONNX Runtime."""

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from edge import reference
from edge.lower import lower
from edge.program import ArgMax, Dequantize, Trees
from edge.quantize import quantize
from firnline.contracts.quantize import Quantize
from firnline.errors import HandshakeError

COLUMNS = 4
MODES = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT")
EDGES = np.float32([0.0, -0.0, 0.5, -0.5, 1e-42, np.inf, -np.inf, np.nan])


def grown(random, trees=5, depth=4, modes=MODES):
    """Attributes of random nodes, and (tree, node) of every leaf."""
    nodes = {name: [] for name in ("treeids", "nodeids", "featureids", "values", "modes",
                                   "truenodeids", "falsenodeids",
                                   "missing_value_tracks_true")}  # fmt: skip
    leaves = []
    for tree in range(trees):
        count = 2**depth - 1 if tree else 0
        for node in range(2 * count + 1):
            inner = node < count
            row = (tree, node, int(random.integers(COLUMNS)), float(random.choice(EDGES[:5])),
                   str(random.choice(modes)) if inner else "LEAF", 2 * node + 1 if inner else 0,
                   2 * node + 2 if inner else 0, int(random.integers(2)))  # fmt: skip
            for name, value in zip(nodes, row, strict=True):
                nodes[name].append(value)
            if not inner:
                leaves.append((tree, node))
    return {f"nodes_{name}": value for name, value in nodes.items()}, leaves


def voting(prefix, leaves, ids, weights):
    """Attributes of leaves: each votes for all of `ids`."""
    return {
        f"{prefix}_treeids": [tree for tree, _ in leaves for _ in ids],
        f"{prefix}_nodeids": [node for _, node in leaves for _ in ids],
        f"{prefix}_ids": [place for _ in leaves for place in ids],
        f"{prefix}_weights": [float(value) for value in weights],
    }


def model(kind, outputs, before=(), constants=(), **attributes):
    """A graph with one node of trees behind others."""
    given = before[-1].output[0] if before else "x"
    labels = TensorProto.STRING if "classlabels_strings" in attributes else TensorProto.INT64
    node = helper.make_node(kind, [given], list(outputs), domain="ai.onnx.ml", **attributes)
    made = [
        helper.make_tensor_value_info(name, kind_, None)
        for name, kind_ in zip(outputs[::-1], (TensorProto.FLOAT, labels), strict=False)
    ]
    free = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", COLUMNS])
    graph = helper.make_graph([*before, node], "trees", [free], made[::-1], list(constants))
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


def rows(random, count=200):
    made = random.normal(size=(count, COLUMNS)).astype(np.float32)
    chosen = random.random(made.shape) < 0.3
    made[chosen] = random.choice(EDGES, int(chosen.sum()))
    return made


def both(content, x):
    """Outputs of ONNX Runtime, whose threads would each sum some trees, and of the program."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    wanted = session.run(None, {"x": x})
    program = lower(quantize(content, x, Quantize()).model, "trees")
    made = reference.run(program, {"x": x})
    return [
        (value, made[name].reshape(value.shape))
        for name, value in zip(program.outputs, wanted, strict=True)
    ]


@pytest.mark.parametrize("how", ["SUM", "AVERAGE"])
def test_every_mode_and_gap_goes_where_onnx_runtime_goes(how):
    random = np.random.default_rng(3)
    nodes, leaves = grown(random)
    votes = voting("target", leaves, [0, 1], random.integers(-64, 64, 2 * len(leaves)) / 16)
    content = model("TreeEnsembleRegressor", ["y"], n_targets=2, base_values=[0.25, -3.0],
                    aggregate_function=how, **nodes, **votes)  # fmt: skip

    ((wanted, made),) = both(content, rows(random))

    assert np.array_equal(wanted, made)


def test_leaves_off_the_grid_are_summed_in_tree_order():
    random = np.random.default_rng(4)
    nodes, leaves = grown(random)
    votes = voting("target", leaves, [0], random.normal(size=len(leaves)))
    content = model(
        "TreeEnsembleRegressor", ["y"], n_targets=1, base_values=[0.3], **nodes, **votes
    )

    ((wanted, made),) = both(content, rows(random))

    assert np.array_equal(wanted, made)


@pytest.mark.parametrize("post", ["NONE", "LOGISTIC", "SOFTMAX"])
@pytest.mark.parametrize(
    ("classes", "ids", "low", "base"),
    [(3, [0, 1, 2], -64, [0.5, 0.25, -1.0]), (3, [0, 1, 2], 0, []), (2, [0], 0, []),
     (2, [0], -64, [-0.25]), (2, [0], -64, []), (2, [0, 1], -64, [])],
)  # fmt: skip
def test_labels_and_scores_are_onnx_runtimes(classes, ids, low, base, post):
    random = np.random.default_rng(5)
    nodes, leaves = grown(random)
    weights = random.integers(low, 64, len(ids) * len(leaves)) / (64 * 5)
    weights = np.rint(weights * 4096) / 4096
    extra = {"base_values": base} if base else {}
    content = model("TreeEnsembleClassifier", ["label", "scores"], post_transform=post,
                    classlabels_int64s=list(range(classes)), **extra, **nodes,
                    **voting("class", leaves, ids, weights))  # fmt: skip

    (label, label_made), (scores, scores_made) = both(content, rows(random))

    assert np.array_equal(label, label_made)
    assert np.allclose(scores, scores_made, rtol=0, atol=0 if post == "NONE" else 3e-7)
    assert len(np.unique(label)) > 1


def test_an_int8_input_has_a_threshold_on_its_grid_in_its_place():
    random = np.random.default_rng(6)
    nodes, leaves = grown(random, modes=MODES[:1])
    nodes["nodes_values"] = random.normal(size=len(nodes["nodes_modes"])).tolist()
    scale = helper.make_tensor("scale", TensorProto.FLOAT, [], [0.021])
    zero = helper.make_tensor("zero", TensorProto.INT8, [], [-7])
    before = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["d"]),
    ]
    votes = voting("target", leaves, [0], random.integers(-64, 64, len(leaves)))
    content = model("TreeEnsembleRegressor", ["y"], before, [scale, zero], n_targets=1, **nodes,
                    **votes)  # fmt: skip
    x = random.normal(size=(300, COLUMNS)).astype(np.float32)

    ((wanted, made),) = both(content, x)
    program = lower(content, "trees", io="int8")
    forest = next(step for step in program.operations if isinstance(step, Trees))

    assert np.array_equal(wanted, made)
    assert [type(step) for step in program.operations] == [Dequantize, Trees]
    assert np.isin(forest.threshold[forest.feature >= 0], reals(program.values["x"])).all()


def reals(value):
    stored = np.arange(-128, 128) - value.zero
    return np.append(stored.astype(np.float32) * np.float32(value.scale), -np.inf)


def test_a_scaler_in_front_is_a_difference_and_a_product():
    random = np.random.default_rng(7)
    nodes, leaves = grown(random)
    scaler = helper.make_node("Scaler", ["x"], ["s"], domain="ai.onnx.ml",
                              offset=[0.1, 0.2, 0.3, 0.4], scale=[3.0, 0.7, 1.0, 2.0])  # fmt: skip
    votes = voting("class", leaves, [0, 1, 2], random.integers(0, 8, 3 * len(leaves)))
    content = model("TreeEnsembleClassifier", ["label", "scores"], [scaler],
                    classlabels_strings=["a", "b", "c"], **nodes, **votes)  # fmt: skip

    program = lower(content, "trees", outputs=["scores"])
    made = reference.run(program, {"x": (x := rows(random))})["scores"]
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])

    assert np.array_equal(made, session.run(["scores"], {"x": x})[0])
    assert any(isinstance(step, ArgMax) for step in lower(content, "trees").operations)


@pytest.mark.parametrize(
    ("code", "change"),
    [
        ("E70", {"nodes_modes": ["BRANCH_EQ", "LEAF", "LEAF"]}),
        ("E70", {"aggregate_function": "MIN"}),
        ("E70", {"post_transform": "PROBIT"}),
        ("E71", {"nodes_truenodeids": [7, 0, 0]}),
        ("E71", {"nodes_truenodeids": [2, 0, 0]}),
        ("E71", {"nodes_featureids": [COLUMNS, 0, 0]}),
        ("E71", {"nodes_values": [0.5]}),
        ("E71", {"target_nodeids": [0, 2]}),
        ("E71", {"target_ids": [0, 3]}),
        ("E71", {"target_weights": [0.5, float("nan")]}),
    ],
)
def test_what_has_no_table_or_is_broken_is_refused_by_name(code, change):
    plain = {
        "nodes_treeids": [0] * 3, "nodes_nodeids": [0, 1, 2], "nodes_featureids": [0] * 3,
        "nodes_values": [0.5, 0.0, 0.0], "nodes_modes": ["BRANCH_LEQ", "LEAF", "LEAF"],
        "nodes_truenodeids": [1, 0, 0], "nodes_falsenodeids": [2, 0, 0],
        **voting("target", [(0, 1), (0, 2)], [0], [1.0, 2.0]),
    }  # fmt: skip

    with pytest.raises(HandshakeError) as caught:
        lower(model("TreeEnsembleRegressor", ["y"], **(plain | change)), "trees")

    assert caught.value.code == code
    assert "TreeEnsembleRegressor" in str(caught.value)
