"""Within step 4: the int8 model on one target, proved; every target is a step of its own."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from prefect import flow

from firnline import wiring
from firnline.digest import canonical_json
from firnline.evidence.scores import DecisionRule
from firnline.workload import Workload, locate
from flows.quantize import CALIBRATION, FLOAT, INT8, VECTORS, quantized
from flows.steps import Document, Results, Step, code, folder_of, run_step
from flows.train import train

if TYPE_CHECKING:
    from edge.export.model import Model
    from firnline.contracts.target import Profile

_CODE = (
    "edge.compile",
    "edge.decide",
    "edge.document",
    "edge.export",
    "edge.folder",
    "edge.lower",
    "edge.mcu",
    "edge.npu",
    "edge.parity_run",
    "edge.program",
    "edge.quantize",
    "edge.reference",
    "edge.report",
    "firnline.contracts.target",
)
RECORD = "record.json"


@flow(name="export-targets", validate_parameters=False)
def export_targets(
    ensemble: str, targets: list[str] | None = None, data: str | None = None
) -> Document:
    """Export the candidate for targets, whether or not they are among `release.targets`.

    Args:
        ensemble: Name or folder of the ensemble.
        targets: Names, or paths of profiles; those of the release when not given.
        data: As for `ingest`.

    Returns:
        `targets`: what `firnline export --json` prints of each, with `path`, the folder to hand on.

    Raises:
        EvidenceError: E1 int8 lies too far from float, E82 a target's gate did not accept.
        DeliveryError: E80 or E81 the profile, E40 to E69 a tool.
    """
    workload = locate(ensemble, wiring.settings().project)
    wanted = see_to(workload, targets)
    before = train(ensemble, data)
    int8 = quantized(workload, before)
    made = [exported(workload, before, int8, target) for target in wanted]
    return {
        "targets": [
            {**document["record"], "path": str(folder_of(document) / "files")} for document in made
        ]
    }


def see_to(workload: Workload, targets: Sequence[str] | None = None) -> list[str]:
    """The targets of an export, once each has a profile and every tool it takes.

    Asked before anything is trained, as what is missing can be mended in a minute.

    Args:
        workload: Whose export.
        targets: Names, or paths of profiles; those of the release when not given.

    Raises:
        DeliveryError: E80 or E81 a profile; E42 or E61 a tool.
    """
    from edge.compile import compiler
    from edge.targets import load

    wanted = list(targets or workload.manifest.release.targets)
    for target in wanted:
        profile = load(target, wiring.settings().project)
        compiler(profile.kind).ready(profile)
    return wanted


def exported(workload: Workload, before: Results, int8: Document, target: str) -> Document:
    """The model on one target: artifact, proof and report in the step's folder.

    Raises:
        EvidenceError: E82, bytes differ, decisions differ too often, or a budget is passed.
        DeliveryError: E80 or E81 the profile, E40 to E69 a tool.
    """
    from edge import toolchains
    from edge.targets import load

    profile = load(target, wiring.settings().project)
    apart = profile.kind in toolchains.names()
    inputs = {
        "quantize": int8["key"],
        "profile": profile.model_dump(mode="json"),
        "tools": toolchains.digest(profile.kind) if apart else None,
        "versions": versions(workload, before),
        "code": code(*_CODE, packages=("numpy", "onnx", "onnxruntime", "unicorn", "ziglang")),
    }

    def make(out: Path) -> Document:
        return _export(workload, before, int8, profile, out)

    name = f"target-{profile.name}"
    return run_step(Step(workload.name, name, inputs, "building, proving", make, _summary))


def _export(
    workload: Workload, before: Results, int8: Document, profile: "Profile", out: Path
) -> Document:
    from edge.export.make import build, enforce
    from edge.report import files_of

    model = _model(workload, before, int8, profile)
    with tempfile.TemporaryDirectory() as folder:
        built = build(model, profile, Path(folder))
    enforce(built)
    for name, content in files_of(built).items():
        path = out / "files" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    record = built.document()
    (out / RECORD).write_text(canonical_json(record), encoding="utf-8")
    return {"target": profile.name, "verdict": built.proof.verdict, "record": record}


def _model(workload: Workload, before: Results, quantised: Document, profile: "Profile") -> "Model":
    from edge.export.model import of_ensemble

    folder = folder_of(quantised)
    rule = DecisionRule.of(before["train"])
    exact, int8 = ((folder / name).read_bytes() for name in (FLOAT, INT8))
    if profile.cpu is not None and profile.cpu.reduce_range:
        int8 = _seven_bits(workload, before["train"], quantised, rule)
    vectors = np.load(folder / VECTORS, allow_pickle=False)
    return of_ensemble(
        workload.name,
        (exact, int8),
        vectors["features"],
        vectors["labels"],
        rule,
        workload.manifest.parity,
        versions(workload, before),
    )


def _seven_bits(
    workload: Workload, trained: Document, quantised: Document, rule: DecisionRule
) -> bytes:
    """The model quantised once more, with weights of seven bits, and held to the same limits.

    Raises:
        EvidenceError: E1, it lies too far from float.
    """
    from edge.decide import with_decision
    from edge.parity_run import enforce, gate, parity
    from edge.quantize import quantize
    from firnline.contracts.quantize import Quantize

    folder = folder_of(quantised)
    how = Quantize.model_validate({**quantised["how"], "reduce_range": True})
    plain = (folder_of(trained) / "ensemble.onnx").read_bytes()
    made = quantize(plain, np.load(folder / CALIBRATION, allow_pickle=False), how).model
    vectors = np.load(folder / VECTORS, allow_pickle=False)
    found = parity(plain, made, vectors["features"], vectors["labels"], rule)
    enforce(gate(f"{workload.name} in seven bits", found, workload.manifest.parity, {}))
    return with_decision(made, rule)


def versions(workload: Workload, before: Results) -> dict[str, Any]:
    """What a device's header tells of where the model comes from."""
    trained = before["train"]
    features = {view["reference"]: view["label"] for view in before["features"]["views"]}
    stages = {f"stage {stage['name']}": stage["digest"] for stage in trained["stages"]}
    return {
        "ensemble": workload.name,
        **{f"feature {name}": label for name, label in features.items()},
        **stages,
        "columns": ",".join(trained["columns"]),
        **({"classes": ",".join(trained["classes"])} if trained["classes"] else {}),
        "threshold": repr(float(np.float32(trained["threshold"]))),
    }


def _summary(document: Document) -> str:
    record = document["record"]
    differ = record["bytes_differ"]
    if document["verdict"] == "not run":
        return "built, not run here"
    told = [
        f"{differ:,} bytes differ in {record['vectors']:,} windows" if differ is not None else ""
    ]
    told += [
        f"{record[name]:,} {unit}"
        for name, unit in (
            ("instructions", "instructions"),
            ("flash_bytes", "B flash"),
            ("ram_bytes", "B RAM"),
        )
        if record[name] is not None
    ]
    return ", ".join(part for part in told if part)
