"""The ensemble trace: what a mixed pair of stages would have done, and that it is refused."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from prefect import flow
from prefect.artifacts import create_link_artifact, create_table_artifact

from firnline import wiring
from firnline.digest import canonical_json
from firnline.workload import Workload, locate, views
from flows.agree import agreed
from flows.features import features
from flows.progress import reporter
from flows.rows import divided
from flows.steps import Document, Results, Step, code, folder_of, run_step
from flows.trace_handshake import handshakes
from flows.trace_page import page
from flows.trace_plot import plot
from flows.trace_summary import cells, summary

if TYPE_CHECKING:
    from firnline.contracts.handshake import Facts
    from models.fit import FittedEnsemble
    from models.recipe import Frame
    from models.split import Parts
    from models.trace import Versions

_CODE = (
    "models.trace",
    "models.trace_measure",
    "models.evaluate",
    "models.fit",
    "models.float_onnx",
    "models.kept",
    "models.mlp",
    "models.split",
    "firnline.contracts.facts",
    "firnline.contracts.handshake",
    "firnline.contracts.stages",
    "firnline.evidence.auc_difference",
    "firnline.evidence.calibration",
    "firnline.evidence.scores",
    "flows.trace",
    "flows.trace_handshake",
    "flows.trace_page",
    "flows.trace_plot",
    "flows.trace_summary",
)


@flow(name="trace", validate_parameters=False)
def trace(ensemble: str, data: str | None = None, before: Results | None = None) -> Document:
    """Cross two versions of a stage with what learned from each, on the same held-out rows.

    Args:
        ensemble: Name or folder of the ensemble.
        data: As for `ingest`; only used when `before` is not given.
        before: Results of the steps before; run, or reused, when not given.

    Returns:
        The document that `firnline trace --json` prints.

    Raises:
        HandshakeError: T1 no stage reads another, T2 a retraining changes nothing, T3 too few
            rows; H1 to H4 the stages do not belong together as they are defined.
    """
    from models.trace import traced_stage

    workload = locate(ensemble, wiring.settings().project)
    traced_stage(workload.manifest)
    before = before or features(ensemble, data)
    facts = agreed(workload, views(workload), "tracing")
    inputs = {
        "training_set": before["features"]["training_set"],
        "manifest": workload.manifest.digest(),
        "features": {
            name: found for stage in facts.stages for name, found in stage.features.items()
        },
        "code": code(
            *_CODE,
            packages=("numpy", "scikit-learn", "onnx", "onnxruntime"),
            folder=workload.folder,
        ),
    }

    def make(out: Path) -> Document:
        return _trace(workload, before["features"], facts, out)

    step = Step(workload.name, "trace", inputs, "training both versions", make, _told)
    document = run_step(step)
    run_id = _keep(workload, before, document)
    if not document["reused"]:
        _show(workload.name, document)
    folder = folder_of(document)
    kept = {name: found for name, found in document.items() if name not in {"path", "seconds"}}
    files = {name: str(folder / f"trace.{name}") for name in ("html", "svg", "json")}
    return {**kept, "mlflow": run_id, "files": files}


def _trace(workload: Workload, computed: Document, facts: Facts, out: Path) -> Document:
    from models.fit import fit_ensemble
    from models.trace import crossed, downstream, traced_stage
    from models.trace_measure import measure

    manifest = workload.manifest
    frame, parts = divided(manifest, computed)
    held_out = frame.rows(parts.test)
    after = fit_ensemble(manifest, frame, parts)
    draws = []
    for versions in crossed(manifest, frame, parts, after, reporter().advance):
        shaken = handshakes(versions, facts, computed["training_set"])
        pairs = [
            {**pair.document(), **shaken[pair.upstream, pair.downstream]}
            for pair in measure(versions, held_out)
        ]
        draws.append({**_draw(versions, parts), "pairs": pairs})
    stage = traced_stage(manifest)
    document = {
        "ensemble": manifest.name,
        "entity": manifest.ensemble.entity,
        "stage": stage,
        "downstream": downstream(manifest, stage),
        "training_set": computed["training_set"],
        **_counts(held_out, after),
        "summary": summary(draws),
        "draws": draws,
    }
    picture = plot(document)
    (out / "trace.json").write_text(canonical_json(document), encoding="utf-8")
    (out / "trace.svg").write_text(picture, encoding="utf-8")
    (out / "trace.html").write_text(page(document, picture), encoding="utf-8")
    return document


def _draw(versions: Versions, parts: Parts) -> Document:
    how = versions.retraining
    return {
        "retraining": how.name,
        "grows": how.grows,
        "part": how.part + 1,
        "parts": how.parts,
        "rows": {"version_1": int(versions.earlier.sum()), "version_2": int(parts.train.sum())},
    }


def _counts(held_out: Frame, after: FittedEnsemble) -> Document:
    return {
        "rows": len(held_out),
        "labelled": int((held_out.labels != "").sum()),
        "faulty": int(after.rule.faults(held_out.labels).sum()),
    }


def _keep(workload: Workload, before: Results, document: Document) -> str:
    """Log the trace in MLflow, once; the run's id."""
    metrics = {
        f"{row['retraining']}.v{row['upstream']}_on_v{row['downstream']}.{name}": row[name]["mean"]
        for row in document["summary"]
        for name in ("auc", "far", "mar", "brier", "calibration_error", "agreement")
        if row[name] is not None
    }
    return wiring.registry().log_trace(
        workload.name,
        document["key"],
        metrics=metrics,
        tags={
            "training_set": document["training_set"],
            "features": ", ".join(view["label"] for view in before["features"]["views"]),
            "stage": document["stage"],
        },
        folder=folder_of(document),
    )


def _show(ensemble: str, document: Document) -> None:
    """The table as a Prefect artifact, and a link to the page."""
    key = f"{ensemble}-trace".replace("_", "-")
    create_table_artifact(key=key, table=cells(document), description=_told(document))
    address = (folder_of(document) / "trace.html").as_uri()
    create_link_artifact(key=f"{key}-report", link=address, link_text="trace report")


def _told(document: Document) -> str:
    mixed = [row for row in document["summary"] if not row["matched"]]
    refused = sum(row["handshake"] != "ok" for row in mixed)
    share = 100 * max(1 - row["agreement"]["low"] for row in mixed)
    told = f"mixed pairs change up to {share:.2f} % of decisions"
    drops = [row["auc_change"]["low"] for row in mixed if row["auc_change"]]
    if drops:
        told += f" and AUC by {min(drops):+.3f} at worst"
    return f"{told}; the handshake refuses {refused} of {len(mixed)} kinds"
