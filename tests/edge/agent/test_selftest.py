from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.agent.selftest import self_test
from firnline.errors import DeliveryError
from tests.edge.agent import bundles
from tests.edge.agent.test_runner import logarithm


def npy(value: Any) -> bytes:
    stream = BytesIO()
    np.save(stream, value)
    return stream.getvalue()


def golden(folder: Path, name: str) -> Any:
    return np.load(folder / f"golden/{name}.npy").copy()


def test_the_same_bytes_are_exact(tmp_path: Path) -> None:
    made = bundles.make(tmp_path / "a")
    found = self_test(made.folder)
    assert (found.kind, found.windows, found.difference) == ("exact", bundles.GOLDEN, 0.0)


def test_a_last_digit_is_rounding_and_a_step_is_not(tmp_path: Path) -> None:
    made = bundles.make(tmp_path / "a")
    score = golden(made.folder, "score")
    near = score.copy()
    near[3] += np.float32(1 / 512)
    made = bundles.make(tmp_path / "a", files={"golden/score.npy": npy(near)})
    found = self_test(made.folder)
    assert found.kind == "rounded"
    assert found.difference == pytest.approx(1 / 512)
    near[5] += np.float32(1 / 128)
    made = bundles.make(tmp_path / "a", files={"golden/score.npy": npy(near)})
    with pytest.raises(
        DeliveryError, match=r"window 5: self-test: score 0\.\d+, golden 0"
    ) as caught:
        self_test(made.folder)
    assert caught.value.code == "U22"


@pytest.mark.parametrize(("name", "other"), [("flagged", 1.0), ("fault", 1)])
def test_a_decision_that_differs_is_named_with_its_window(
    tmp_path: Path, name: str, other: Any
) -> None:
    made = bundles.make(tmp_path / "a")
    value = golden(made.folder, name)
    window = int(np.flatnonzero(value.reshape(-1) != other)[-1])
    value.reshape(-1)[window] = other
    made = bundles.make(tmp_path / "a", files={f"golden/{name}.npy": npy(value)})
    with pytest.raises(DeliveryError, match=f"window {window}: self-test: {name} is") as caught:
        self_test(made.folder)
    assert caught.value.code == "U22"


@pytest.mark.parametrize(
    ("files", "named"),
    [
        ({"golden/score.npy": npy(np.full((16, 1), np.nan, np.float32))}, "golden nan"),
        ({"golden/score.npy": npy(np.zeros((15, 1), np.float32))}, "16 golden windows, 15 scores"),
        ({"golden/score.npy": npy(np.zeros((16, 1)))}, "golden windows of"),
        ({"golden/features.npy": npy(np.zeros((0, 4), np.float32))}, "0 golden windows"),
        ({"golden/features.npy": npy(np.zeros((16, 3), np.float32))}, "rows of shape"),
        ({"golden/fault.npy": npy(np.zeros(15, np.int32))}, "15 golden windows for `fault`"),
        ({"golden/fault.npy": npy(np.full(16, 99, np.int32))}, "fault is"),
        ({"stages/classifier.int8.onnx": logarithm()}, "self-test: a score that is no number"),
    ],
)
def test_golden_windows_that_cannot_be_right_are_refused(
    tmp_path: Path, files: dict[str, bytes], named: str
) -> None:
    made = bundles.make(tmp_path / "a", files=files)
    with pytest.raises(DeliveryError, match=named) as caught:
        self_test(made.folder)
    assert caught.value.code == "U22"


def test_a_golden_file_that_is_missing_swapped_or_a_bomb_is_refused(tmp_path: Path) -> None:
    made = bundles.make(tmp_path / "a", files={"golden/score.npy": b"PK\x03\x04"})
    with pytest.raises(DeliveryError, match="no plain array") as caught:
        self_test(made.folder)
    assert caught.value.code == "U13"
    (made.folder / "golden/score.npy").unlink()
    with pytest.raises(DeliveryError, match="is not the file that the manifest names") as caught:
        self_test(made.folder)
    assert caught.value.code == "D3"
