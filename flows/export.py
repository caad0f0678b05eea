"""Step 4: one float graph -> int8 -> parity gate -> every target, proved -> bundle."""

from pathlib import Path

from prefect import flow

from edge.pack import Contents, StageRecord, pack, stage_file
from edge.report import across, licence
from firnline import wiring
from firnline.contracts.facts import of_document
from firnline.contracts.lock import Lock, render
from firnline.workload import Workload, locate
from flows.quantize import CALIBRATION, FLOAT, INT8, VECTORS, quantized
from flows.steps import Document, Results, Step, code, folder_of, run_step
from flows.targets import exported, see_to
from flows.train import train
from flows.verdicts import publish

_CODE = ("edge.folder", "edge.pack")


@flow(name="export", validate_parameters=False)
def export(ensemble: str, data: str | None = None, before: Results | None = None) -> Results:
    """Quantise the candidate, prove it on every target of the release, and pack the bundle.

    Args:
        ensemble: Name or folder of the ensemble.
        data: As for `ingest`; only used when `before` is not given.
        before: Results of the steps before; run, or reused, when not given.

    Raises:
        EvidenceError: E1 int8 lies too far from float, E82 a target's gate did not accept; no
            bundle is made.
        DeliveryError: E80 or E81 a target's profile, E40 to E69 a tool.
    """
    workload = locate(ensemble, wiring.settings().project)
    wanted = see_to(workload)
    before = before or train(ensemble, data)
    int8 = quantized(workload, before)
    publish(workload.name, int8["decision"], reused=int8["reused"])
    targets = [exported(workload, before, int8, target) for target in wanted]
    inputs = {
        "train": before["train"]["key"],
        "quantize": int8["key"],
        "targets": [target["key"] for target in targets],
        "code": code(*_CODE),
    }

    def make(out: Path) -> Document:
        contents = _contents(workload, before, int8, targets)
        records = [target["record"] for target in targets]
        figures = {name: int8[name] for name in ("onnx", "parity", "decision")}
        packed = pack(out / "bundle", contents)
        # Within the step: one that was killed before this is not whole, and runs again.
        _log(before, records)
        return {**figures, "targets": records, "bundle": packed}

    document = run_step(Step(workload.name, "export", inputs, "packing", make, _summary))
    return {**before, "export": document}


def _log(before: Results, records: list[Document]) -> None:
    """Keep every target's proof with the registered model's run."""
    registered = before["register"]
    proofs = {record["target"]: record for record in records}
    wiring.registry().log_proofs(registered["name"], registered["version"], proofs)


def _contents(
    workload: Workload,
    before: Results,
    int8: Document,
    targets: list[Document],
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
        parity=int8["decision"],
        calibration=int8["calibration"],
        facts=of_document(trained["facts"], "the training"),
        targets=[target["record"] for target in targets],
        files=_files(workload, trained, folder_of(int8), targets),
    )


def _graphs(folder: Path, trained: Document) -> dict[str, bytes]:
    """Every stage's own graph, by its place in the bundle."""
    names = [stage["name"] for stage in trained["stages"]]
    return {stage_file(name): (folder / f"{name}.onnx").read_bytes() for name in names}


def _lock_lines(trained: Document) -> str:
    """The lock's lines for every feature version the ensemble reads."""
    wanted = {name for stage in trained["stages"] for name in stage["features"]}
    return render(Lock(tuple(line for line in wiring.lock() if line.reference in wanted)))


def _files(
    workload: Workload, trained: Document, made: Path, targets: list[Document]
) -> dict[str, bytes]:
    """Everything a bundle holds, bundle.json aside, by its place."""
    files = {
        **_graphs(folder_of(trained), trained),
        "features.lock": _lock_lines(trained).encode(),
        "ensemble.toml": (workload.folder / "ensemble.toml").read_bytes(),
        "contract.toml": workload.contract.read_bytes(),
    }
    files |= {name: (made / name).read_bytes() for name in (FLOAT, INT8, CALIBRATION, VECTORS)}
    records = [target["record"] for target in targets]
    files["targets/README.md"] = f"# {workload.name}, by target\n\n{across(records)}".encode()
    files["LICENSE"] = licence()
    for target in targets:
        root = folder_of(target) / "files"
        for path in sorted(path for path in root.rglob("*") if path.is_file()):
            name = path.relative_to(root).as_posix()
            files[f"targets/{target['target']}/{name}"] = path.read_bytes()
    return files


def _summary(document: Document) -> str:
    proved = [record for record in document["targets"] if record["proof"]["verdict"] == "accept"]
    reason = str(document["decision"]["reason"])
    return f"{reason}; proved on {len(proved)} of {len(document['targets'])} targets"
