"""Edge export measured: ``make bench-edge`` writes benchmarks/results/edge.json.

Instructions are exact counts from an emulator, never cycles; bytes that differ are held to the
integer reference. The refrigeration ensemble is the one of the last run (`make demo`); it is made
first where there is none. Figures of peers, measured on the same autoencoder shape under QEMU:
CMSIS-NN per-tensor on M4 579,345, M7 579,613, M33 579,540, M3 952,984, its per-channel kernels on
M0 1,602,965, and its clang build on M55 61,797 instructions.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import edge_models
from edge.export.make import Built, build
from edge.export.model import Model, of_ensemble, of_onnx
from edge.quantize import quantize
from edge.targets import load
from firnline import wiring
from firnline.contracts.quantize import Quantize
from firnline.evidence.scores import DecisionRule
from firnline.workload import locate
from models.fit import load_frame
from models.split import split

RESULTS = Path(__file__).parent / "results" / "edge.json"
MCUS = ("cortex-m0", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55", "rv32imc")
NPUS = ("npu-ethos-u55-128", "npu-ethos-u85-256")
WINDOWS = 10_000
GRAPHS = 500
MOST_AUC_LOST, LEAST_AGREEMENT = 0.002, 0.99
"""Of the ensemble against float."""
PEERS = {
    "mcu-cortex-m0": 1_602_965,
    "mcu-cortex-m3": 952_984,
    "mcu-cortex-m4": 579_345,
    "mcu-cortex-m7": 579_613,
    "mcu-cortex-m33": 579_540,
    "mcu-cortex-m55": 61_797,
}
"""CMSIS-NN, instructions an inference of the autoencoder."""


def main() -> None:
    """Measure, print a line a result, write them all; exit 1 when a byte differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--windows", type=int, default=WINDOWS, help="of the ensemble")
    parser.add_argument("--graphs", type=int, default=GRAPHS, help="random graphs")
    parser.add_argument("--out", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    results = []
    for model, target in _work(chosen.windows):
        with tempfile.TemporaryDirectory() as folder:
            built = build(model, load(target), Path(folder))
        results.append(_record(built))
        print(_line(results[-1]), flush=True)
    if chosen.graphs:
        results.append(_random_graphs(chosen.graphs))
        print(_line(results[-1]), flush=True)
    chosen.out.parent.mkdir(exist_ok=True)
    partial = chosen.out.with_suffix(".partial")
    partial.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    partial.rename(chosen.out)
    wrong = [row for row in results if _wrong(row)]
    sys.exit(1 if wrong else 0)


def _work(windows: int) -> Iterator[tuple[Model, str]]:
    mcus = [f"mcu-{core}" for core in MCUS]
    autoencoders = [edge_models.autoencoder_random(), edge_models.autoencoder_trained()]
    published = edge_models.autoencoder_published()
    if published is None:
        print("autoencoder-published is left out: its file is not at hand", flush=True)
    else:
        autoencoders.append(published)
    for yardstick in [*autoencoders, edge_models.extractor()]:
        model = _model(yardstick, Quantize())
        for target in (*mcus, *NPUS):
            yield model, target
    per_tensor = _model(autoencoders[0], Quantize(per_channel=False), "-per-tensor")
    for target in NPUS:
        yield per_tensor, target
    ensemble = _ensemble(windows)
    for target in (*mcus, *NPUS, "cpu-x86_64"):
        yield ensemble, target


def _model(yardstick: edge_models.Yardstick, how: Quantize, suffix: str = "") -> Model:
    made = quantize(yardstick.model, yardstick.calibration, how)
    name = yardstick.name + suffix
    return of_onnx(name, (yardstick.model, made.model), yardstick.vectors, "int8")


def _ensemble(windows: int) -> Model:
    """The refrigeration ensemble of the last run, on windows held out from its training."""
    trained = _newest("train", "result.json")
    if trained is None:
        subprocess.run([sys.executable, "-m", "firnline", "run", "refrigeration"], check=True)
        trained = _newest("train", "result.json")
    computed, int8 = _newest("features", "training_set.parquet"), _newest("quantize", "int8.onnx")
    if trained is None or computed is None or int8 is None:
        raise SystemExit("no finished run of refrigeration; run `make demo`")
    manifest = locate("refrigeration", Path.cwd()).manifest
    frame = load_frame(computed, manifest.key, manifest.references())
    held_out = frame.rows(split(frame, manifest.split).test)
    chosen = np.sort(np.random.default_rng(0).permutation(len(held_out))[:windows])
    rows = held_out.rows(chosen)
    document = json.loads(trained.read_text(encoding="utf-8"))
    rule = DecisionRule.of(document.get("document", document))
    models = (int8.with_name("float.onnx").read_bytes(), int8.read_bytes())
    return of_ensemble(
        "refrigeration", models, rows.features, rows.labels, rule, manifest.parity, {}
    )


def _newest(step: str, name: str) -> Path | None:
    root = wiring.settings().state / "artifacts" / "refrigeration" / step
    return max(root.glob(f"*/{name}"), key=os.path.getmtime, default=None)


def _record(built: Built) -> dict[str, Any]:
    row = built.record()
    for name in (
        "code_bytes",
        "weight_bytes",
        "arena_bytes",
        "stack_bytes",
        "cycles",
        "npu_cycles",
    ):
        if built.figures.get(name) is not None:
            row[name] = built.figures[name]
    row["verdict"] = built.proof.verdict
    row["reasons"] = list(built.proof.reasons)
    if built.proof.decisions is not None:
        row["agreement"] = built.proof.decisions.agreement
        row["agreement_float"] = built.proof.decisions.agreement_float
        row["auc_float"] = built.proof.decisions.auc_float
        row["auc_target"] = built.proof.decisions.auc_target
    peer = PEERS.get(row["target"])
    if peer and row["model"].startswith("autoencoder") and row["instructions"]:
        row["peer"] = {"name": "CMSIS-NN", "instructions": peer}
        row["peer"]["ratio"] = round(row["instructions"] / peer, 3)
    return row


def _wrong(row: dict[str, Any]) -> bool:
    """Whether a result is not what is promised: exact everywhere, and int8 close to float."""
    if row["bytes_differ"] or row.get("failures"):
        return True
    if row.get("auc_float") is None:
        return False
    lost = row["auc_float"] - row["auc_target"]
    return lost > MOST_AUC_LOST or row["agreement_float"] < LEAST_AGREEMENT


def _random_graphs(count: int) -> dict[str, Any]:
    """Random graphs of the supported operators, exact or refused by name, on one core."""
    from tests.edge.random_graphs import check_many

    found = check_many(count)
    return {
        "model": f"{count} random graphs ({found.refused} refused by name)",
        "target": found.target,
        "toolchain": found.toolchain,
        "runner": found.runner,
        "instructions": None,
        "macs": None,
        "flash_bytes": None,
        "ram_bytes": None,
        "vectors": found.vectors,
        "bytes_differ": found.bytes_differ,
        "exact": found.exact,
        "refused": found.refused,
        "failures": [str(failure) for failure in found.failures],
    }


def _line(row: dict[str, Any]) -> str:
    shown = {name: "-" if row.get(name) is None else f"{row[name]:,}" for name in _SHOWN}
    return f"{row['model']:<40} {row['target']:<20} " + " ".join(
        f"{shown[name]:>12}" for name in _SHOWN
    )


_SHOWN = ("instructions", "cycles", "flash_bytes", "ram_bytes", "vectors", "bytes_differ")


if __name__ == "__main__":
    main()
