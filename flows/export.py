"""Step 4: one float graph -> int8 -> parity gate -> bundle."""

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from prefect import flow

from edge.pack import Contents, StageRecord, pack, stage_file
from firnline import wiring
from firnline.contracts.facts import of_document
from firnline.contracts.lock import Lock, render
from firnline.decision import Decision
from firnline.digest import bytes_digest
from firnline.evidence.scores import DecisionRule
from firnline.workload import Workload, locate
from flows.rows import divided
from flows.steps import Document, Results, Step, code, folder_of, run_step
from flows.train import train
from flows.verdicts import publish

if TYPE_CHECKING:
    from edge.calibration import CalibrationSet

_CODE = (
    "edge.calibration",
    "edge.pack",
    "edge.parity_run",
    "edge.quantize",
    "firnline.evidence.scores",
)


@flow(name="export", validate_parameters=False)
def export(ensemble: str, data: str | None = None, before: Results | None = None) -> Results:
    """Quantise the candidate, prove that int8 decides as float does, and pack the bundle.

    Args:
        ensemble: Name or folder of the ensemble.
        data: As for `ingest`; only used when `before` is not given.
        before: Results of the steps before; run, or reused, when not given.

    Raises:
        EvidenceError: E1, int8 lies too far from float; no bundle is made.
    """
    before = before or train(ensemble, data)
    workload = locate(ensemble, wiring.settings().project)
    inputs = {
        "train": before["train"]["key"],
        "parity": workload.manifest.parity.model_dump(),
        "quantize": workload.manifest.quantize.model_dump(),
        "code": code(*_CODE, packages=("numpy", "onnx", "onnxruntime")),
    }

    def make(out: Path) -> Document:
        return _export(workload, before, out)

    step = Step(workload.name, "export", inputs, "quantising", make, _summary)
    document = run_step(step)
    publish(workload.name, document["decision"], reused=document["reused"])
    return {**before, "export": document}


def _export(workload: Workload, before: Results, out: Path) -> Document:
    from edge.calibration import choose
    from edge.parity_run import enforce, gate, parity
    from edge.quantize import quantize

    manifest, trained = workload.manifest, before["train"]
    frame, parts = divided(manifest, before["features"])
    float_model = (folder_of(trained) / "ensemble.onnx").read_bytes()
    held_out = frame.rows(parts.test)
    calibration = choose(frame.rows(parts.train), manifest.quantize.calibration_rows)
    int8_model = quantize(float_model, calibration.features, manifest.quantize).model
    rule = DecisionRule.of(trained)
    found = parity(float_model, int8_model, held_out.features, held_out.labels, rule)
    digests = {"float": bytes_digest(float_model), "int8": bytes_digest(int8_model)}
    decision = gate(
        manifest.name,
        found,
        manifest.parity,
        {**digests, "training_set": before["features"]["training_set"]},
    )
    wiring.ledger().append(decision)
    enforce(decision)
    files = {
        **_graphs(folder_of(trained), trained),
        "features.lock": _lock_lines(trained).encode(),
        "float.onnx": float_model,
        "int8.onnx": int8_model,
        "calibration.npy": _npy(calibration.features),
        "ensemble.toml": (workload.folder / "ensemble.toml").read_bytes(),
        "contract.toml": workload.contract.read_bytes(),
    }
    contents = _contents(workload, before, decision, calibration, files)
    return {
        "onnx": digests,
        "parity": {**found.document(), "verdict": decision.verdict},
        "decision": decision.document(),
        "bundle": pack(out / "bundle", contents),
    }


def _contents(
    workload: Workload,
    before: Results,
    decision: Decision,
    calibration: "CalibrationSet",
    files: dict[str, bytes],
) -> Contents:
    trained, manifest = before["train"], workload.manifest
    return Contents(
        name=manifest.name,
        manifest_digest=manifest.digest(),
        snapshot={"sha256": before["ingest"]["snapshot"], "dvc": before["ingest"]["dvc"]},
        features={
            view["reference"]: {name: view[name] for name in ("label", "digest", "snapshot")}
            for view in before["features"]["views"]
        },
        training_set=before["features"]["training_set"],
        stages=[
            StageRecord(
                name=stage["name"],
                recipe=stage["recipe"],
                digest=stage["digest"],
                onnx_sha256=stage["onnx"],
                options=stage["options"],
                features=stage["features"],
                upstream=stage["upstream"],
                training_set=stage["training_set"],
            )
            for stage in trained["stages"]
        ],
        columns=trained["columns"],
        outputs=[f"{s.name}.{output.name}" for s in manifest.stage for output in s.outputs],
        decide={name: trained[name] for name in ("output", "classes", "threshold")},
        parity=decision.document(),
        calibration={"rows": len(calibration.features), "note": calibration.note},
        facts=of_document(trained["facts"], "the training"),
        files=files,
    )


def _graphs(folder: Path, trained: Document) -> dict[str, bytes]:
    """Every stage's own graph, by its place in the bundle."""
    names = [stage["name"] for stage in trained["stages"]]
    return {stage_file(name): (folder / f"{name}.onnx").read_bytes() for name in names}


def _lock_lines(trained: Document) -> str:
    """The lock's lines for every feature version the ensemble reads."""
    wanted = {name for stage in trained["stages"] for name in stage["features"]}
    return render(Lock(tuple(line for line in wiring.lock() if line.reference in wanted)))


def _npy(rows: NDArray[np.float32]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, rows, allow_pickle=False)
    return stream.getvalue()


def _summary(document: Document) -> str:
    return str(document["decision"]["reason"])
