import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper, numpy_helper

from edge.agent.runner import BATCH_ROWS, Runner
from firnline.errors import DeliveryError
from tests.edge.agent import bundles


def logarithm() -> bytes:
    """A classifier whose score is no number for half of all rows."""
    value = "encoder.residual"
    nodes = [
        helper.make_node("Identity", [value], ["classifier.fault_probability"]),
        helper.make_node("Gather", [value, "first"], ["flagged"], axis=1),
        helper.make_node("Log", ["flagged"], ["score"]),
        helper.make_node("ArgMax", ["flagged"], ["fault"], axis=1),
    ]
    kinds = {"classifier.fault_probability": (1, 4), "flagged": (1, 1), "score": (1, 1)}
    ends = {
        name: helper.make_tensor_value_info(name, kind, ["n", width])
        for name, (kind, width) in {value: (1, 4), **kinds, "fault": (7, 1)}.items()
    }
    first = numpy_helper.from_array(np.array([0]), "first")
    given = ends.pop(value)
    graph = helper.make_graph(nodes, "logarithm", [given], list(ends.values()), [first])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


@pytest.fixture
def slot(tmp_path: Path) -> Path:
    return bundles.make(tmp_path / "a").folder


def test_it_answers_as_the_graphs_do(slot: Path) -> None:
    made = bundles.make(slot)
    rows = bundles.rows(3 * BATCH_ROWS + 5, seed=3)
    values = bundles.chain(made.files, rows)
    found = Runner(slot).score(rows)
    assert found.score.tobytes() == values["score"].reshape(-1).tobytes()
    assert found.flagged.tolist() == (values["flagged"].reshape(-1) != 0).tolist()
    assert found.fault == tuple(bundles.CLASSES[place] for place in values["fault"].reshape(-1))
    assert len(set(found.fault)) > 1


def test_a_row_has_one_answer_whatever_comes_with_it(slot: Path) -> None:
    runner, rows = Runner(slot), bundles.rows(40, seed=4)
    together = runner.score(rows).score
    alone = np.concatenate([runner.score(rows[place : place + 1]).score for place in range(40)])
    assert together.tobytes() == alone.tobytes()
    assert len(runner.score(rows[:0]).score) == 0


@pytest.mark.parametrize("shape", [(4,), (2, 3), (1, 5), (1, 1, 4)])
def test_rows_of_another_shape_are_refused(slot: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(DeliveryError, match="give 4 numbers a row") as caught:
        Runner(slot).score(np.zeros(shape, np.float32))
    assert caught.value.code == "U31"


def test_a_score_that_is_no_number_is_no_answer(tmp_path: Path) -> None:
    made = bundles.make(tmp_path / "b", files={"stages/classifier.int8.onnx": logarithm()})
    good = np.array([[2, 0, 0, 0]], np.float32)
    assert Runner(made.folder).score(good).score[0] == pytest.approx(math.log(2), abs=0.05)
    with pytest.raises(DeliveryError, match="a score that is no number, for row 1") as caught:
        Runner(made.folder).score(np.concatenate([good, -good]))
    assert caught.value.code == "U33"


def test_a_graph_that_was_swapped_is_not_opened(slot: Path) -> None:
    graph = slot / "stages/encoder.int8.onnx"
    graph.write_bytes(b"not even a graph")
    with pytest.raises(
        DeliveryError, match=r"stages/encoder\.int8\.onnx is not the file"
    ) as caught:
        Runner(slot)
    assert caught.value.code == "D3"


@pytest.mark.parametrize(
    ("manifest", "named"),
    [
        ({"run": []}, "nothing to run"),
        ({"input": {}}, "does not say how to run: KeyError: 'name'"),
        ({"decide": 3}, "does not say how to run"),
    ],
)
def test_a_manifest_that_does_not_say_how_is_refused(
    tmp_path: Path, manifest: dict[str, Any], named: str
) -> None:
    made = bundles.make(tmp_path / "b", manifest=manifest)
    with pytest.raises(DeliveryError, match=named) as caught:
        Runner(made.folder)
    assert caught.value.code in {"U22", "D1"}


def test_a_graph_that_does_not_open_or_fit_is_refused(tmp_path: Path) -> None:
    made = bundles.make(tmp_path / "b", files={"stages/encoder.int8.onnx": b"\x08\x07"})
    with pytest.raises(DeliveryError, match="a graph that does not open") as caught:
        Runner(made.folder)
    assert caught.value.code == "U22"
    other = made.files["stages/classifier.int8.onnx"]
    swapped = bundles.make(tmp_path / "c", files={"stages/encoder.int8.onnx": other})
    with pytest.raises(DeliveryError, match=r"a graph that takes \['encoder.residual'\]"):
        Runner(swapped.folder)
