"""Step 4: one float graph -> int8 -> parity gate -> every target, proved -> bundle."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from prefect import flow

from edge.licences import patterns
from edge.pack import Contents, StageRecord, pack
from edge.report import across, licence
from edge.verify import stage_file
from firnline import wiring
from firnline.contracts.facts import of_document
from firnline.contracts.lock import Lock, render
from firnline.evidence.scores import DecisionRule
from firnline.workload import Workload, locate
from flows.offers import offer
from flows.quantize import CALIBRATION, FLOAT, INT8, VECTORS, quantized
from flows.register import metrics, params
from flows.steps import Document, Results, Step, code, folder_of, run_step
from flows.targets import exported, see_to
from flows.train import train
from flows.verdicts import publish, summarise

if TYPE_CHECKING:
    from edge.stage_graphs import Chain

_CODE = (
    "edge.bom",
    "edge.bom_components",
    "edge.chain",
    "edge.folder",
    "edge.golden",
    "edge.licences",
    "edge.model_card",
    "edge.model_facts",
    "edge.pack",
    "edge.session",
    "edge.stage_graphs",
    "edge.verify",
)


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
    wanted, alone = see_to(workload), before is None
    before = before or train(ensemble, data)
    int8 = quantized(workload, before)
    publish(workload.name, int8["decision"], reused=int8["reused"])
    targets = [exported(workload, before, int8, target) for target in wanted]
    inputs = {
        "train": before["train"]["key"],
        "quantize": int8["key"],
        "targets": [target["key"] for target in targets],
        "license": workload.manifest.ensemble.license,
        "code": code(*_CODE),
    }

    def make(out: Path) -> Document:
        contents = _with_papers(_contents(workload, before, int8, targets), workload, before)
        records = [target["record"] for target in targets]
        figures = {name: int8[name] for name in ("onnx", "parity", "decision")}
        packed = pack(out / "bundle", contents)
        # Within the step: one that was killed before this is not whole, and runs again.
        _log(before, records)
        return {**figures, "targets": records, "bundle": packed}

    document = run_step(Step(workload.name, "export", inputs, "packing", make, _summary))
    if alone:
        # Within the main job the release is offered once it has been judged as well.
        offer(workload, document, {"parity": summarise(int8)})
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
    chain, golden = _graphs_that_run(trained, folder_of(int8))
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
        files={
            **_files(workload, trained, folder_of(int8), targets),
            **chain.graphs,
            **golden,
        },
        licences=patterns(manifest.ensemble.license),
        run=chain.links,
        run_note=chain.note,
    )


def _with_papers(contents: Contents, workload: Workload, before: Results) -> Contents:
    """The contents with their bill of materials and model card."""
    from edge import bom, model_card

    registered, trained = before["register"], before["train"]
    found = wiring.registry().figures(registered["name"], registered["version"])
    # The run may be of an earlier training of the same model, with another threshold.
    told: Document = {**found.params, **params(workload.manifest)}
    settings = {name: str(value) for name, value in told.items()}
    measured: dict[str, float | None] = {**found.metrics, **metrics(trained["metrics"])}
    figures = {name: value for name, value in measured.items() if value is not None}
    papers = {
        bom.FILE: bom.bom(contents, settings, figures),
        model_card.FILE: model_card.card(contents, settings, figures),
    }
    return replace(contents, files={**contents.files, **papers})


def _graphs_that_run(trained: Document, made: Path) -> "tuple[Chain, dict[str, bytes]]":
    """The int8 graph as a chain of stages, and golden windows scored by it."""
    from edge.golden import golden
    from edge.stage_graphs import chain

    with np.load(made / VECTORS, allow_pickle=False) as vectors:
        features, labels = vectors["features"], vectors["labels"]
    names = [stage["name"] for stage in trained["stages"]]
    deciding = trained["output"].partition(".")[0]
    split = chain((made / INT8).read_bytes(), names, deciding, features)
    return split, golden(split, features, labels, DecisionRule.of(trained))


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
