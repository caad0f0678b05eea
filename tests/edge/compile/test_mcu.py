"""Microcontrollers as targets: an ensemble built for a core and run there, window by window."""

import io

import numpy as np
import pytest

from edge.compile.mcu import rows_of, values_of
from edge.decide import FAULT, FLAGGED
from edge.export.make import build
from edge.report import files_of
from edge.targets import load
from tests.edge.small_models import RULE, SCORE, VERSIONS, decided


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return build(decided(), load("mcu-cortex-m4"), tmp_path_factory.mktemp("m4"))


def test_output_score_flag_and_class_are_equal_byte_by_byte(built):
    proof = built.proof
    assert proof.verdict == "accept"
    assert proof.bytes.values == (RULE.output, SCORE, FLAGGED, FAULT)
    assert proof.bytes.compared == 200 * (2 + 1 + 1 + 1) * 4
    assert proof.bytes.differ == 0
    assert proof.decisions.agreement == 1.0
    assert proof.toolchain["zig"] and proof.runner.startswith("unicorn ")


def test_what_it_takes_is_told(built):
    figures = built.figures
    assert figures["flash_bytes"] >= figures["code_bytes"] + figures["weight_bytes"] > 0
    assert figures["ram_bytes"] == figures["arena_bytes"] + figures["stack_bytes"]
    assert 0 < figures["instructions"] <= figures["instructions_most"]
    counted = built.ran.layers
    assert set(counted) <= {step.name for step in built.model.program.operations}
    assert 0.8 < sum(counted.values()) / figures["instructions"] < 1.2


def test_the_folder_holds_a_project_for_every_world(built):
    files = files_of(built)
    header = files["src/small.h"].decode()
    assert all(text in header for text in VERSIONS.values())
    assert {"CMakeLists.txt", "library.properties", "zephyr/module.yml", "README.md"} <= set(files)
    assert {"test/self_test.c", "proof.json", "report.html", "vectors/score.npy"} <= set(files)
    assert not any("entry.c" in name for name in files)


def test_the_vectors_are_what_was_proved(built):
    files, model = files_of(built), built.model
    arrays = {
        name: np.load(io.BytesIO(files[f"vectors/{name}.npy"]))
        for name in ("features", SCORE, FLAGGED, FAULT)
    }
    assert np.array_equal(arrays["features"], model.vectors, equal_nan=True)
    assert all(np.array_equal(arrays[name], model.golden[name]) for name in (SCORE, FAULT))


def test_rows_and_bytes_are_each_others_inverse():
    model = decided()
    bytes_ = rows_of(model.program, model.inputs)
    assert bytes_.shape == (200, 4 * 4) and bytes_.dtype == np.uint8
    assert np.array_equal(bytes_.view("<f4"), model.vectors, equal_nan=True)
    golden = [model.golden[name] for name in model.program.outputs]
    flat = np.concatenate([value.reshape(200, -1).view(np.uint8) for value in golden], axis=1)
    back = values_of(model.program, flat)
    assert list(back) == list(model.program.outputs)
    assert all(np.array_equal(back[name], model.golden[name]) for name in back)
