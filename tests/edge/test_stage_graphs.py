"""An int8 graph split by stage computes the same bytes, in integers as before."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from edge.chain import run
from edge.stage_graphs import chain, split
from firnline.contracts.quantize import Quantize
from tests.edge.small_bundles import models, rows

STAGES = ("residual", "score")


def same(found, wanted):
    return {name: values.tobytes() for name, values in found.items()} == {
        name: values.tobytes() for name, values in wanted.items()
    }


@pytest.mark.parametrize("how", [Quantize(), Quantize(float_outputs=True), Quantize(ranges="clip")])
def test_the_chain_gives_every_byte_of_the_whole(how) -> None:
    _, int8 = models(how=how)
    made = chain(int8, STAGES, "score", rows())
    assert made.note == ""
    assert [link.stage for link in made.links] == list(STAGES)
    first, last = made.links
    assert first.inputs == ("features",) and last.inputs == ("residual.left",)
    assert first.outputs == ("residual.left", "residual.size")
    assert last.outputs == ("score.chance", "score", "flagged", "fault")
    whole = chain(int8, (), "score", rows())
    assert whole.note and [link.graph for link in whole.links] == ["int8.onnx"]
    assert same(run(made.links, made.graphs, rows(57)), run(whole.links, whole.graphs, rows(57)))
    for graph in made.graphs.values():
        onnx.checker.check_model(onnx.load_from_string(graph), full_check=True)


def kinds(model, folder):
    """Operators of a graph as ONNX Runtime has fused it."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "fused.onnx")
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.add_session_config_entry("session.qdqisint8allowed", "1")
    onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return [node.op_type for node in onnx.load(folder / "fused.onnx").graph.node]


def test_every_layer_still_runs_in_integers(tmp_path) -> None:
    _, int8 = models()
    made = split(int8, STAGES, "score")
    parts = [kinds(graph, tmp_path) for graph in made.graphs.values()]
    assert [part.count("QGemm") for part in parts] == [1, 2]
    assert kinds(int8, tmp_path).count("QGemm") == 3


def test_a_stage_that_did_not_change_keeps_its_bytes() -> None:
    before, after = (split(models(slope=slope)[1], STAGES, "score") for slope in (1.0, 0.5))
    first, last = (link.graph for link in before.links)
    assert before.graphs[first] == after.graphs[first]
    assert before.graphs[last] != after.graphs[last]
    assert split(models()[1], STAGES, "score") == before


def endless():
    """A stage whose output is past float's range, and one that reads the integers behind it."""
    nodes = [
        helper.make_node("Cast", ["features"], ["left/int8"], to=onnx.TensorProto.INT8),
        helper.make_node("DequantizeLinear", ["left/int8", "scale", "zero"], ["residual.left"]),
        helper.make_node("Cast", ["left/int8"], ["score"], to=onnx.TensorProto.FLOAT),
    ]
    info = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["rows", 4])
        for name in ("features", "residual.left", "score")
    ]
    held = [
        onnx.numpy_helper.from_array(np.float32(1.7e38), "scale"),
        onnx.numpy_helper.from_array(np.int8(0), "zero"),
    ]
    graph = helper.make_graph(nodes, "ensemble", info[:1], info[1:], held)
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    ).SerializeToString()


def test_a_split_that_would_differ_keeps_the_graph_whole() -> None:
    made = chain(endless(), STAGES, "score", rows())
    assert made.note == "split by stage, score would differ on 300 windows"
    assert [link.graph for link in made.links] == ["int8.onnx"]
    assert made.graphs == {"int8.onnx": endless()}


@pytest.mark.parametrize(
    ("stages", "told"),
    [(("residual",), "no stage's output"), ((*STAGES, "silent"), "silent gives nothing")],
)
def test_what_is_no_stages_output_keeps_the_graph_whole(stages, told) -> None:
    made = chain(models()[1], stages, "score", rows())
    assert told in made.note and len(made.links) == 1
