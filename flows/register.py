"""The candidate in the model registry: everything MLflow is told of a training."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from firnline import wiring
from firnline.contracts.ensemble import Ensemble
from firnline.contracts.facts import of_document
from firnline.digest import digest
from firnline.workload import Workload
from flows.steps import Document, Results, Step, folder_of, run_step

if TYPE_CHECKING:
    from firnline.adapters.mlflow_registry import TrainingRun

_MEASURED = ("rows", "faulty", "auc", "f1", "far", "mar")


def register(workload: Workload, before: Results, trained: Document) -> Document:
    """Keep the candidate in MLflow; the same candidate is kept once.

    Raises:
        HandshakeError: H1 to H8, the stages do not belong together; nothing is registered.
    """

    def make(_out: Path) -> Document:
        found = wiring.registry().register(_run(workload, before, trained))
        return {"name": found.name, "version": found.version, "run_id": found.run_id}

    inputs = {"train": trained["key"]}
    step = Step(workload.name, "register", inputs, "registering", make, _registered)
    if not (wiring.settings().state / "mlflow" / "mlflow.db").is_file():
        # A registry that was removed has forgotten the candidate.
        wiring.artifacts().discard(workload.name, step.name, step.key)
    return run_step(step)


def _run(workload: Workload, before: Results, trained: Document) -> "TrainingRun":
    """Everything MLflow is told of a training."""
    from firnline.adapters.mlflow_registry import Dataset, ModelRecord, TrainingRun
    from models.float_onnx import proto

    manifest, folder = workload.manifest, folder_of(trained)
    widths = {
        f"{s.name}.{output.name}": output.width for s in manifest.stage for output in s.outputs
    }
    stages = [
        ModelRecord(
            name=f"{manifest.name}-{stage.name}",
            digest=found["digest"],
            proto=proto((folder / f"{stage.name}.onnx").read_bytes()),
            inputs=[
                ("features", len(found["columns"])),
                *((name, widths[name]) for name in stage.upstream),
            ],
            outputs=[(output.name, output.width) for output in stage.outputs],
            tags={"features": ", ".join(found["labels"]), "recipe": stage.recipe},
        )
        for stage, found in zip(manifest.stage, trained["stages"], strict=True)
    ]
    digests = {stage["name"]: stage["digest"] for stage in trained["stages"]}
    ensemble = ModelRecord(
        name=manifest.name,
        digest=digest({"stages": digests, "float": trained["float"]}),
        proto=proto((folder / "ensemble.onnx").read_bytes()),
        inputs=[("features", len(trained["columns"]))],
        outputs=list(widths.items()),
        tags={f"stage.{name}": value for name, value in digests.items()},
    )
    ingested = before["ingest"]
    return TrainingRun(
        facts=of_document(trained["facts"], "the training"),
        ensemble=ensemble,
        stages=stages,
        dataset=Dataset(
            name=manifest.name,
            source=f"data/{manifest.name}",
            dvc=ingested["dvc"],
            sha256=ingested["snapshot"],
        ),
        params=params(manifest),
        metrics=metrics(trained["metrics"]),
        tags={
            "training_set": before["features"]["training_set"],
            "feature_data": ", ".join(
                f"{view['label']}={view['snapshot']}" for view in before["features"]["views"]
            ),
            "outputs": ", ".join(part["label"] for part in trained["outputs"].values()),
            "features": ", ".join(view["label"] for view in before["features"]["views"]),
        },
    )


def params(manifest: Ensemble) -> dict[str, Any]:
    """The manifest's settings, flat, as the run has them."""
    found = {f"split.{name}": value for name, value in manifest.split.model_dump().items()}
    for stage in manifest.stage:
        found |= {f"{stage.name}.{name}": value for name, value in stage.options.items()}
    return found


def metrics(measured: Document) -> dict[str, float | None]:
    """A training's figures, flat, as the run has them: `test.auc`, `test.auc.slow_leak`."""
    found: dict[str, float | None] = {}
    for part, scores in measured.items():
        found |= {f"{part}.{name}": scores[name] for name in _MEASURED}
        found |= {f"{part}.auc.{name}": area for name, area in scores["by_class"].items()}
    return found


def _registered(document: Document) -> str:
    return f"{document['name']} version {document['version']} in MLflow, alias candidate"
