"""The main job: the seven steps in order, and one document of what came of them."""

import importlib
from dataclasses import asdict
from typing import Any

from prefect import flow

from firnline import wiring
from firnline.adapters.artifact_store import write_atomically
from firnline.contracts.ensemble import Ensemble
from firnline.contracts.offer import Offer
from firnline.digest import canonical_json
from firnline.errors import HandshakeError
from firnline.workload import locate
from flows.drift import drift
from flows.export import export
from flows.features import features
from flows.ingest import ingest
from flows.offers import offer
from flows.progress import reporter
from flows.shadow import shadow
from flows.steps import Document, Results, folder_of
from flows.targets import see_to
from flows.train import train
from flows.verdicts import summarise
from flows.window import window


@flow(name="run", validate_parameters=False)
def run(ensemble: str, data: str | None = None) -> Document:
    """Raw readings to verified bundle, judged.

    Args:
        ensemble: Name or folder of the ensemble.
        data: File or folder of raw readings; see `flows.ingest.ingest`.

    Returns:
        The document that `firnline run --json` prints.

    Raises:
        DeliveryError: E80 or E81 a target's profile, E42 or E61 a tool it takes; before the
            first step.
    """
    workload = locate(ensemble, wiring.settings().project)
    see_to(workload)
    results: Results = ingest(ensemble, data)
    for step in (features, train, export, shadow, drift, window):
        results = step(ensemble, before=results)
    judged = {gate: summarise(results[gate]) for gate in ("shadow", "drift")}
    offered = offer(workload, results["export"], judged)
    document = describe(workload.manifest, results, offered)
    state = wiring.settings().state
    write_atomically(state / "runs" / f"{workload.name}.json", canonical_json(document))
    return document


@flow(name="reproduce", validate_parameters=False)
def reproduce(ensemble: str, protocol: str, data: str | None = None) -> Document:
    """Run a published protocol on an ensemble's readings.

    Args:
        ensemble: Name or folder of the ensemble.
        protocol: A name under `[protocols]` of its manifest.
        data: As for `ingest`.

    Raises:
        HandshakeError: M14, the manifest names no such protocol.
    """
    workload = locate(ensemble, wiring.settings().project)
    declared = workload.manifest.protocols
    if protocol not in declared:
        raise HandshakeError(
            "M14",
            found=f"no protocol {protocol!r} (there are: {', '.join(declared) or 'none'})",
            where=f"[protocols] of {workload.name}",
            mend="name one of these",
        )
    ingested = ingest(ensemble, data)["ingest"]
    module, _, function = declared[protocol].partition(":")
    reporter().start(protocol, "reproducing")
    row = getattr(importlib.import_module(module), function)(folder_of(ingested), workload.manifest)
    figures = {name: row[name] for name in ("f1", "far", "mar", "auc")}
    rows = [*_published(workload.manifest), {**row, "ours": True}]
    return {
        "ensemble": workload.name,
        "protocol": protocol,
        "snapshot": ingested["snapshot"],
        "readings": ingested["readings"],
        "metrics": {**figures, "table": rows},
        "reused": [name for name in ("ingest",) if ingested["reused"]],
    }


def describe(manifest: Ensemble, results: Results, offered: Offer | None = None) -> Document:
    """The steps' documents as the one document machines read."""
    computed, trained, exported = results["features"], results["train"], results["export"]
    bundle = folder_of(exported) / "bundle"
    return {
        "ensemble": manifest.name,
        "snapshot": results["ingest"]["snapshot"],
        "dvc": results["ingest"]["dvc"],
        "readings": results["ingest"]["readings"],
        "quarantined": results["ingest"]["quarantined"],
        "features": {
            "digest": computed["digest"],
            "training_set": computed["training_set"],
            "rows": computed["rows"],
            "views": computed["views"],
        },
        "stages": [
            {
                "name": stage["name"],
                "digest": stage["digest"],
                "metrics": _stage_metrics(manifest, stage["name"], trained),
            }
            for stage in trained["stages"]
        ],
        "metrics": _metrics(manifest, trained["metrics"]),
        "registered": {name: results["register"][name] for name in ("name", "version")},
        "onnx": exported["onnx"],
        "parity": exported["parity"],
        "targets": {record["target"]: _target(record) for record in exported["targets"]},
        "bundle": {"path": str(bundle), "digest": exported["bundle"]},
        "shadow": _verdict(results["shadow"]),
        "drift": {
            **_verdict(results["drift"]),
            "report": str(folder_of(results["drift"]) / "drift.html"),
        },
        "window": _verdict(results["window"]),
        "offer": None if offered is None else {**asdict(offered), "command": offered.command},
        "reused": [name for name, document in results.items() if document["reused"]],
    }


def _target(record: Document) -> Document:
    """What was shown on a target."""
    fields = ("vectors", "bytes_differ", "instructions", "flash_bytes", "ram_bytes")
    return {
        "verdict": record["proof"]["verdict"],
        "artifact_sha256": record["artifact_sha256"],
        **{name: record[name] for name in fields},
    }


def _verdict(document: Document) -> Document:
    decision = document["decision"]
    return {name: decision[name] for name in ("verdict", "reason", "rules", "numbers", "digest")}


def _stage_metrics(manifest: Ensemble, stage: str, trained: Document) -> Document:
    """What a stage is judged by: the deciding one by decisions, the others by their outputs."""
    if stage == manifest.decide.output.partition(".")[0]:
        return {name: scores["auc"] for name, scores in trained["metrics"].items()}
    return dict(trained["stage_metrics"].get(stage, {}))


def _metrics(manifest: Ensemble, measured: Document) -> Document:
    """Figures on held-out rows; beside published ones where the manifest has a table."""
    test = measured["test"]
    figures: Document = {name: test[name] for name in ("f1", "far", "mar", "auc", "by_class")}
    figures["rows"] = test["rows"]
    if "later" in measured:
        later = measured["later"]
        figures["later"] = {name: later[name] for name in ("f1", "far", "mar", "auc", "by_class")}
    if manifest.published is not None:
        everything: dict[str, Any] = {**test["flag_everything"], "auc": 0.5}
        ours = {name: test[name] for name in ("f1", "far", "mar", "auc")}
        figures["table"] = [
            *_published(manifest),
            {"method": "flag everything", **everything, "ours": False},
            {"method": f"firnline: {manifest.name}", **ours, "ours": True},
        ]
    return figures


def _published(manifest: Ensemble) -> list[Document]:
    if manifest.published is None:
        return []
    return [{**row.model_dump(), "ours": False} for row in manifest.published.rows]
