import numpy as np
import onnx
import pytest

from firnline.errors import HandshakeError
from models.float_onnx import Graph, StageGraph, merge, run, union_columns


def one(build, width, *values):
    graph = Graph("test")
    graph.output("made", build(graph, graph.input("features", values[0].shape[1])), width)
    return run(graph.bytes(), {"features": values[0]})["made"]


ROWS = np.array([[1, np.nan, -3], [0.5, 2, 30]], dtype=np.float32)
FULL = np.array([[1, 9, -3], [0.5, 2, 30]], dtype=np.float32)


def test_imputes_missing_values():
    fill = np.array([7, 9, 8], np.float32)
    assert np.array_equal(one(lambda g, x: g.impute(x, fill), 3, ROWS), FULL)


def test_standardises_clips_and_picks_columns():
    centre, scale = np.array([1, 2, 3], np.float32), np.array([2, 4, 8], np.float32)
    made = one(lambda g, x: g.standardise(x, centre, scale), 3, FULL)
    assert np.allclose(made, (FULL - centre) / scale, atol=1e-6)
    assert one(lambda g, x: g.clip(x, -1.0, 4.0), 3, FULL).max() == 4
    assert np.array_equal(one(lambda g, x: g.columns(x, [2, 0]), 2, FULL), FULL[:, [2, 0]])


def test_layers_and_sums():
    weights, bias = np.arange(6, dtype=np.float32).reshape(2, 3), np.ones(2, np.float32)
    expected = FULL @ weights.T + bias
    assert np.allclose(one(lambda g, x: g.layer(x, weights, bias), 2, FULL), expected)
    assert np.allclose(one(lambda g, x: g.project(x, weights.T), 2, FULL), FULL @ weights.T)
    assert one(lambda g, x: g.relu(x), 3, FULL).min() == 0
    assert np.allclose(one(lambda g, x: g.sigmoid(x), 3, FULL), 1 / (1 + np.exp(-FULL)), atol=1e-6)
    assert np.allclose(one(lambda g, x: g.softmax(x), 3, FULL).sum(axis=1), 1)
    assert np.allclose(one(lambda g, x: g.sum_squares(x), 1, FULL)[:, 0], (FULL**2).sum(axis=1))
    assert one(lambda g, x: g.concat(x, x), 6, FULL).shape == (2, 6)


def test_percentile_is_linear_between_knots_and_flat_beyond():
    knots = np.array([1, 2, 4, 4.5], np.float32)
    levels = np.array([0, 0.5, 0.9, 1], np.float32)
    values = np.linspace(-1, 7, 200, dtype=np.float32)[:, None]
    made = one(lambda g, x: g.percentile(x, knots, levels), 1, values)
    assert np.allclose(made[:, 0], np.interp(values[:, 0], knots, levels), atol=1e-6)
    assert made.min() == 0
    assert made.max() == 1


def test_equal_graphs_give_equal_bytes_without_producer_or_documentation():
    first, second = (stage("a", ("v__x", "v__y")).model for _ in range(2))
    assert first == second
    model = onnx.load_from_string(first)
    assert (model.producer_name, model.doc_string, len(model.metadata_props)) == ("", "", 0)
    assert [(item.domain, item.version) for item in model.opset_import] == [("", 17)]


def stage(name, columns, upstream=(), width=2):
    """Doubles its columns' sum with every upstream value added to it."""
    graph = Graph(name)
    features = graph.input("features", len(columns))
    parts = [graph.input(source, size) for source, size in upstream]
    value = graph.concat(features, *parts) if parts else features
    inside = len(columns) + sum(size for _, size in upstream)
    weights = np.full((width, inside), 2, np.float32)
    graph.output("out", graph.layer(value, weights, np.zeros(width, np.float32)), width)
    return StageGraph(name, graph.bytes(), columns, (("out", width),))


def test_merged_stages_read_their_own_columns_and_each_other():
    stages = [
        stage("first", ("v__x", "v__y")),
        stage("second", ("w__z", "v__x"), [("first.out", 2)], width=1),
    ]
    assert union_columns(stages) == ("v__x", "v__y", "w__z")
    rows = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
    made = run(merge(stages), {"features": rows})
    first = 2 * rows[:, :2].sum(axis=1)
    assert np.allclose(made["first.out"], first[:, None])
    assert np.allclose(made["second.out"][:, 0], 2 * (rows[:, 2] + rows[:, 0] + 2 * first))


def test_merged_bytes_are_deterministic():
    stages = [stage("first", ("v__x",)), stage("second", ("v__y",), [("first.out", 2)])]
    assert merge(stages) == merge(list(stages))


def edited(made, edit):
    model = onnx.load_from_string(made.model)
    edit(model)
    return StageGraph(made.name, model.SerializeToString(), made.columns, made.outputs)


@pytest.mark.parametrize(
    ("edit", "found"),
    [
        (lambda model: model.opset_import.append(onnx.helper.make_opsetid("a.b", 1)), "opsets"),
        (lambda model: setattr(model.opset_import[0], "version", 16), "opsets"),
        (lambda model: model.graph.output.pop(), "out is missing"),
    ],
)
def test_a_stage_graph_that_breaks_the_rules_is_named(edit, found):
    with pytest.raises(HandshakeError, match=rf"M9.*'first'.*{found}"):
        merge([edited(stage("first", ("v__x",)), edit)])


def test_a_stage_graph_of_another_width_or_input_is_named():
    made = stage("first", ("v__x",))
    wider = StageGraph("first", made.model, ("v__x", "v__y"), (("out", 3), ("more", 1)))
    with pytest.raises(HandshakeError, match="M9") as caught:
        merge([wider])
    for part in ("features has shape", "output out", "output more is missing"):
        assert part in caught.value.found
    with pytest.raises(HandshakeError, match=r"none\.out are no upstream"):
        merge([stage("second", ("v__x",), [("none.out", 1)])])


def test_not_onnx_at_all():
    with pytest.raises(HandshakeError, match="not a valid ONNX"):
        merge([StageGraph("first", b"nothing", ("v__x",), (("out", 1),))])
