"""The pages of edge export, held to what an export makes and to what was measured."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import edge_page
from edge.decide import with_decision
from edge.export.make import Built, build
from edge.export.model import of_ensemble
from edge.mcu.tools import CORES
from edge.mcu.tools import build as build_c
from edge.mcu.tools import run as run_c
from edge.npu.qdq_rules import check
from edge.quantize import quantize
from edge.report import files_of
from edge.targets import load
from firnline.contracts.ensemble import Parity, Quantize
from firnline.evidence.scores import DecisionRule
from models.float_onnx import Graph
from tests.docs.pages import DOCS, ROOT, codes, section, tables

DEVICE = (DOCS / "device.md").read_text(encoding="utf-8")
PROOF = (DOCS / "proof.md").read_text(encoding="utf-8")
EXPORT = (DOCS / "export.md").read_text(encoding="utf-8")
FEATURES = 90
ENTRY = """\
#include <stdint.h>

const char *refrigeration_look(void);
uint32_t check_model(void);
extern const uint32_t firnline_in_bytes, firnline_out_bytes;
const uint32_t firnline_in_bytes = 4u, firnline_out_bytes = 4u;
void firnline_entry(const void *in, void *out);

void firnline_entry(const void *in, void *out)
{
    (void)in;
    (void)refrigeration_look();
    *(uint32_t *)out = check_model();
}
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """An ensemble with the inputs and outputs of refrigeration, on a Cortex-M4."""
    random = np.random.default_rng(0)
    manifest = tomllib.loads((ROOT / "models/refrigeration/ensemble.toml").read_text("utf-8"))
    classes = tuple(manifest["decide"]["classes"])
    rule = DecisionRule(manifest["decide"]["output"], classes, 0.5)
    graph = Graph("refrigeration")
    within = graph.clip(graph.input("features", FEATURES), -8.0, 8.0)
    weights = random.normal(0, 0.1, (len(classes), FEATURES)).astype(np.float32)
    scores = graph.layer(within, weights, np.zeros(len(classes), np.float32))
    graph.output(rule.output, graph.softmax(scores), len(classes))
    rows = random.normal(0, 2, (512, FEATURES)).astype(np.float32)
    int8 = quantize(graph.bytes(), rows, Quantize()).model
    models = (with_decision(graph.bytes(), rule), with_decision(int8, rule))
    labels = np.array(["normal", classes[1]] * 4)
    versions = {"classes": ",".join(classes), "threshold": "0.5"}
    model = of_ensemble("refrigeration", models, rows[:8], labels, rule, Parity(), versions)
    return build(model, load("mcu-cortex-m4"), tmp_path_factory.mktemp("m4"))


def test_the_device_page_lists_what_is_there(built: Built) -> None:
    listed = {name for row in tables(DEVICE)[0][1:] for name in codes(row[0])}

    def holds(name: str, path: str) -> bool:
        return Path(path).match(name) if "*" in name else path.startswith(name)

    files = files_of(built)
    assert [path for path in files if not any(holds(name, path) for name in listed)] == []
    assert [name for name in listed if not any(holds(name, path) for path in files)] == []


def test_the_c_of_the_device_page_runs(built: Built, tmp_path: Path) -> None:
    sources = {
        path.partition("/")[2]: content.decode()
        for path, content in built.artifact.files.items()
        if path.startswith(("src/", "test/")) and not path.endswith("self_test.c")
    }
    blocks = re.findall(r"^```c\n(.*?)^```", DEVICE, re.M | re.S)
    shown = {
        f"shown_{place}.c": f"#include <stddef.h>\n{text}" for place, text in enumerate(blocks)
    }

    image = build_c(CORES["cortex-m4"], {**sources, **shown, "entry.c": ENTRY}, tmp_path)
    found = run_c(image, np.zeros((1, 4), np.uint8))

    assert len(blocks) == 2
    assert found.outputs.tolist() == [[0, 0, 0, 0]]  # elements that differ in the self test


def test_every_key_of_a_proof(built: Built) -> None:
    proof = built.proof.document()
    nested = ("bytes", "decisions", "bound_to")
    keys = {name for name in proof if name not in nested}
    keys |= {f"{name}.{inner}" for name in nested for inner in proof[name]}

    written = {
        name for row in tables(section(PROOF, "proof.json"))[0][1:] for name in codes(row[0])
    }

    assert written == keys


def test_the_digest_can_be_computed_as_the_proof_page_does(
    built: Built,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, content in files_of(built).items():
        path = tmp_path / "targets" / "mcu-cortex-m4" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    monkeypatch.chdir(tmp_path)
    found = re.search(r"^```python\n(.*?)^```", PROOF, re.M | re.S)

    assert found
    exec(found[1], {})  # noqa: S102  (the page's own lines)
    assert capsys.readouterr().out.split() == [built.sha256, built.sha256]


def test_every_key_of_what_export_prints(built: Built) -> None:
    rows = tables(section(EXPORT, "What it prints"))[0][1:]

    assert {name for row in rows for name in codes(row[0])} == {*built.document(), "path"}


def test_every_key_of_the_report(built: Built) -> None:
    report = json.loads(files_of(built)["report.json"])
    rows = tables(section(EXPORT, "The report"))[0][1:]

    said = {name for row in rows for name in codes(row[0])}

    assert set(report) - {*built.record(), "artifact_sha256", "figures", "notes"} == said


def test_every_rule_for_other_vendors(built: Built) -> None:
    page = (DOCS / "npu.md").read_text(encoding="utf-8")
    rows = tables(section(page, "Other vendors"))[0][1:]

    assert {codes(row[0])[0]: row[1] for row in rows} == {
        rule.rule: rule.about for rule in check(built.model.int8_model)
    }


def test_measured_tables_are_those_of_the_results() -> None:
    if not edge_page.RESULTS.is_file():
        pytest.skip("benchmarks/results/edge.json is not there: run `make bench-edge`")
    made = edge_page.blocks(json.loads(edge_page.RESULTS.read_text(encoding="utf-8")))
    shown: dict[str, Any] = {}
    for page in edge_page.PAGES:
        for found in edge_page.MARK.finditer(page.read_text(encoding="utf-8")):
            shown[found[2]] = found[3]

    assert shown == made, "run `python -m benchmarks.edge_page`"
