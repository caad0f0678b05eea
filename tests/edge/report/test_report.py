"""What a person reads of a target: figures, plots, advice, and a table across targets."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest

from edge.compile import Artifact, Ran
from edge.export.make import build
from edge.export.proof import Proof
from edge.folder import pretty
from edge.program import Dense
from edge.report import document, files_of, markdown, page
from edge.report.advice import advice
from edge.report.document import fidelity
from edge.report.markdown import across, shown
from edge.report.vectors import vectors
from edge.targets import load
from tests.edge.small_models import decided, of_dense, of_series

EVIL = "<script>alert('&')</script>|a\nb"
FIGURES = {"flash_bytes": 3000, "code_bytes": 2000, "weight_bytes": 1000, "ram_bytes": 400}


@pytest.fixture
def built(tmp_path):
    """On a processor, with a microcontroller's figures and budget put in."""
    made = build(decided(), load("cpu-x86_64-7bit"), tmp_path)
    steps = [step.name for step in made.model.program.operations]
    ran = replace(
        made.ran,
        layers={name: 100 * (place + 1) for place, name in enumerate(steps)},
        notes=(EVIL,),
    )
    artifact = replace(
        made.artifact,
        layers=tuple({"name": name, "live_bytes": 64 + place} for place, name in enumerate(steps)),
    )
    figures = {**FIGURES, "instructions": 631_000}
    return replace(made, profile=load("mcu-cortex-m4"), ran=ran, artifact=artifact, figures=figures)


def test_the_document_holds_every_part(built):
    report = document(built)
    assert report["format"] == "firnline-report/1"
    assert report["verdict"] == "accept" and report["reasons"] == []
    assert report["artifact_sha256"] == built.sha256
    assert [row["name"] for row in report["layers"]] == [
        step.name for step in built.model.program.operations
    ]
    assert report["accuracy"]["agreement"] == 1.0
    assert set(report["fidelity"]) == {"score.chance", "score"}
    assert max(report["fidelity"]["score.chance"], report["fidelity"]["score"]) < 0.1
    assert {"what": "flash_bytes", "taken": 3000, "limit": 2048 * 1024} in report["budget"]
    assert report["notes"] == [EVIL]


def test_work_and_weights_are_told_by_layer(built):
    rows = {row["name"]: row for row in document(built)["layers"]}
    dense = [step for step in built.model.program.operations if isinstance(step, Dense)]
    assert len(dense) >= 2
    for step in dense:
        outputs, inputs = step.weights.shape
        assert rows[step.name]["macs"] == outputs * inputs
        assert rows[step.name]["weight_bytes"] >= step.weights.nbytes
        assert not rows[step.name]["float"]
        assert rows[step.name]["instructions"] > 0 and rows[step.name]["live_bytes"] >= 64
    assert sum(row["macs"] for row in rows.values()) == built.model.program.macs


def test_energy_is_the_published_one_for_as_many_cycles(built):
    energy = document(built)["energy"]
    assert energy["microjoules_at_least"] == 203.0
    assert "MLPerf Tiny v1.2" in energy["source"]
    assert document(replace(built, profile=load("mcu-cortex-m0")))["energy"] is None


def test_a_report_holds_nothing_that_differs_between_runs(built):
    assert b"timings" not in pretty(document(built))
    assert str(built.ran.timings["int8"]).encode() not in files_of(built)["proof.json"]
    later = replace(built, ran=replace(built.ran, timings={"int8": 1, "float": 2}))
    assert files_of(later) == files_of(built)


def test_the_page_is_safe_and_whole(built):
    text = page(document(built))
    assert "<script" not in text and "&lt;script&gt;alert(&#x27;&amp;&#x27;)" in text
    assert "src=" not in text and "http" not in text.replace("http-equiv", "")
    assert text.count("<svg") == text.count("</svg>") >= 3
    for title in ("Flash by layer", "Working memory by layer", "Instructions by layer", "Energy"):
        assert title in text
    assert built.sha256 in text


def test_markdown_keeps_its_tables(built):
    report = document(built)
    report["layers"] = [{**report["layers"][0], "name": EVIL}, *report["layers"][1:]]
    text = markdown(report)
    table = text.partition("## Layers\n\n")[2].partition("\n\n")[0].splitlines()
    assert len(table) == 2 + len(report["layers"])
    assert table[2].startswith("| <script>alert('&')</script>\\|a b | ")
    unescaped = [line.replace("\\|", "") for line in table]
    assert len({line.count("|") for line in unescaped}) == 1
    assert "| flash_bytes | 3,000 | 2,097,152 | 0 % |" in text


def test_the_table_across_targets_has_a_row_each(built):
    records = [built.document(), {"target": "npu", "proof": {"verdict": "not run"}}]
    lines = across(records).splitlines()
    assert len(lines) == 4
    assert lines[2].startswith("| mcu-cortex-m4 | accept | 0 | 200 | 631,000 | 3,000 |")
    assert lines[3] == "| npu | not run | - | - | - | - | - | - |"


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (True, "True"), (1234567, "1,234,567"), (0.12345678, "0.1235"), ("a", "a")],
)
def test_values_are_written_for_people(value, text):
    assert shown(value) == text


def test_json_has_no_number_that_is_none():
    with pytest.raises(ValueError, match="Out of range"):
        pretty({"a": float("nan")})
    assert pretty({"b": 1, "a": "°"}) == '{\n  "a": "°",\n  "b": 1\n}\n'.encode()


def test_vectors_are_arrays_anyone_can_read(tmp_path):
    built = build(of_series(), load("cpu-x86_64-7bit"), tmp_path)
    files = files_of(built)
    for name, wanted in {**built.model.inputs, "y": built.model.golden["y"]}.items():
        found = np.load(io.BytesIO(files[f"vectors/{name}.npy"]), allow_pickle=False)
        assert found.dtype == wanted.dtype and np.array_equal(found, wanted)
    assert json.loads(files["proof.json"])["vectors"] == len(built.model.vectors)


def test_int8_outputs_are_compared_as_the_numbers_they_stand_for():
    (error,) = fidelity(of_dense("int8")).values()
    assert 0 < error < 0.05
    assert error == pytest.approx(fidelity(of_dense("float32"))["y"])


def test_an_output_without_numbers_is_left_out_of_the_error():
    model = of_dense("float32")
    exact = model.exact["y"].copy()
    exact[3] = np.nan
    some = fidelity(replace(model, exact={"y": exact}))
    assert some["y"] == pytest.approx(fidelity(model)["y"], rel=0.2)
    assert fidelity(replace(model, exact={"y": np.full_like(exact, np.inf)})) == {}


LAYERS = [
    {"name": "wide", "weight_bytes": 900, "macs": 900, "instructions": 500, "live_bytes": 70},
    {"name": "narrow", "weight_bytes": 100, "macs": 100, "instructions": 100, "live_bytes": 90},
    {"name": "scale", "weight_bytes": 0, "macs": 0, "instructions": 400, "float": True},
]


def test_advice_names_the_layer_and_what_it_would_save():
    assert advice(LAYERS, {"code_bytes": 2000, "weight_bytes": 1000}) == [
        "wide holds 90 % of the weights: halving its width saves 45 %",
        "wide holds 90 % of the work: halving its width saves 45 %",
        "40 % of the instructions are float steps around the integer part: hand the device int8 "
        "values, or fewer columns",
        "working memory peaks at narrow with 90 bytes",
        "the code is larger than the weights: a larger model costs little more flash",
    ]


def test_where_nothing_stands_out_nothing_is_advised():
    even = [{"name": str(place), "weight_bytes": 10, "macs": 10} for place in range(5)]
    assert advice(even, {"code_bytes": 10, "weight_bytes": 50}) == []
    assert advice([], {}) == []


def test_a_refused_artifact_says_why(built):
    reasons = ("3 of 4 bytes differ",)
    proof: Proof = replace(built.proof, verdict="reject", reasons=reasons)
    report = document(replace(built, proof=proof))
    assert "Proof: **reject** (3 of 4 bytes differ)" in markdown(report)
    assert "<strong class='reject'>reject</strong>: 3 of 4 bytes differ" in page(report)


def test_a_target_that_tells_nothing_still_has_a_report(built):
    empty = replace(
        built,
        model=of_dense(),
        artifact=Artifact({"a": b""}, {}, {}),
        ran=Ran("", {}),
        figures={},
        proof=replace(built.proof, bytes=None, decisions=None, verdict="not run"),
    )
    report = document(empty)
    assert report["budget"] == [] and report["accuracy"] is None and report["energy"] is None
    assert report["instructions"] is None and report["bytes_differ"] is None
    assert "**not run**" in markdown(report) and "class='not'" in page(report)


def test_no_vector_file_takes_anothers_place(built):
    """Names may differ in what no file's name holds, and be longer than one may be."""
    model = built.model
    name, *_ = model.program.outputs
    program = replace(model.program, outputs=("a/b", "a_b", "n" * 300))
    golden = {made: model.golden[name] + place for place, made in enumerate(program.outputs)}
    found = vectors(replace(built, model=replace(model, program=program, golden=golden)))
    assert [path for path in found if "features" not in path] == [
        "vectors/a_b.npy",
        "vectors/a_b_2.npy",
        f"vectors/{'n' * 100}.npy",
    ]
    assert len(set(found.values())) == 4
