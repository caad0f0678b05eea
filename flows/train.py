"""Step 3: training set -> two stages, out-of-fold between them -> MLflow."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import flow

from firnline import wiring
from firnline.contracts.ensemble import Ensemble
from firnline.digest import bytes_digest, digest, short
from firnline.workload import Workload, locate
from flows.features import features
from flows.progress import reporter
from flows.rows import divided
from flows.steps import Document, Results, Step, code, folder_of, run_step

if TYPE_CHECKING:
    from firnline.adapters.mlflow_registry import TrainingRun

_CODE = (
    "models.fit",
    "models.split",
    "models.evaluate",
    "models.float_onnx",
    "models.mlp",
    "firnline.evidence.scores",
)


@flow(name="train", validate_parameters=False)
def train(ensemble: str, data: str | None = None, before: Results | None = None) -> Results:
    """Train every stage and register the candidate.

    Args:
        ensemble: Name or folder of the ensemble.
        data: As for `ingest`; only used when `before` is not given.
        before: Results of the steps before; run, or reused, when not given.

    Raises:
        HandshakeError: A recipe cannot be had, or does not do what its stage declares.
    """
    before = before or features(ensemble, data)
    workload = locate(ensemble, wiring.settings().project)
    computed = before["features"]
    inputs = {
        "training_set": computed["training_set"],
        "manifest": workload.manifest.digest(),
        "code": code(
            *_CODE,
            packages=("numpy", "scikit-learn", "onnx", "onnxruntime"),
            folder=workload.folder,
        ),
    }

    def make(out: Path) -> Document:
        return _fit(workload, computed, out)

    step = Step(workload.name, "train", inputs, "training stages", make, _summary)
    document = run_step(step)
    return {**before, "train": document, "register": _register(workload, before, document)}


def _fit(workload: Workload, computed: Document, out: Path) -> Document:
    from models.evaluate import evaluate
    from models.fit import fit_ensemble
    from models.float_onnx import merge

    manifest = workload.manifest
    frame, parts = divided(manifest, computed)
    fitted = fit_ensemble(manifest, frame, parts)
    reporter().start("train", "measuring on held-out rows")
    stages = _stages(workload, computed, fitted, out)
    (out / "ensemble.onnx").write_bytes(merge(fitted.graphs()))
    scores = {
        name: evaluate(fitted.rule, fitted.rule.scores(fitted.predict(chosen)), chosen.labels)
        for name, mask in (("test", parts.test), ("later", parts.later))
        if len(chosen := frame.rows(mask))
    }
    return {
        "stages": stages,
        "stage_metrics": _alone(workload, fitted, frame.rows(parts.test)),
        "columns": list(fitted.columns()),
        "threshold": fitted.rule.threshold,
        "classes": list(fitted.rule.classes),
        "output": fitted.rule.output,
        "metrics": {name: found.document() for name, found in scores.items()},
        "rows": {"train": int(parts.train.sum()), "test": int(parts.test.sum())},
        "float": bytes_digest((out / "ensemble.onnx").read_bytes()),
    }


def _stages(workload: Workload, computed: Document, fitted: Any, out: Path) -> list[Document]:
    """Write each stage's graph; its digest is over all that made it what it is."""
    views = {view["reference"]: view for view in computed["views"]}
    described: list[Document] = []
    digests: dict[str, str] = {}
    for part in fitted.stages:
        stage, graph = part.stage, part.fitted.to_onnx()
        (out / f"{stage.name}.onnx").write_bytes(graph)
        upstream = {name: digests[name.partition(".")[0]] for name in stage.upstream}
        digests[stage.name] = digest(
            {
                "name": stage.name,
                "recipe": stage.recipe,
                "options": stage.options,
                "onnx": bytes_digest(graph),
                "features": {name: views[name]["digest"] for name in stage.features},
                "upstream": upstream,
                "training_set": computed["training_set"],
            }
        )
        described.append(
            {
                "name": stage.name,
                "digest": digests[stage.name],
                "recipe": stage.recipe,
                "onnx": bytes_digest(graph),
                "features": [views[name]["label"] for name in stage.features],
                "upstream": upstream,
                "columns": list(part.columns),
            }
        )
    return described


def _alone(workload: Workload, fitted: Any, held_out: Any) -> Document:
    """AUC of each one-column output, taken by itself as a score: what a stage knows alone."""
    from models.evaluate import auc

    counted = held_out.rows(held_out.labels != "")
    outputs = fitted.predict(counted)
    faulty = fitted.rule.faults(counted.labels)
    return {
        stage.name: {
            f"{output.name}_auc": auc(faulty, outputs[f"{stage.name}.{output.name}"][:, 0])
            for output in stage.outputs
            if output.width == 1
        }
        for stage in workload.manifest.stage
    }


def _register(workload: Workload, before: Results, trained: Document) -> Document:
    """Keep the candidate in MLflow; the same candidate is kept once."""

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
            tags={"features": ", ".join(found["features"]), "recipe": stage.recipe},
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
        ensemble=ensemble,
        stages=stages,
        dataset=Dataset(
            name=manifest.name,
            source=f"data/{manifest.name}",
            dvc=ingested["dvc"],
            sha256=ingested["snapshot"],
        ),
        params=_params(manifest),
        metrics=_metrics(trained["metrics"]),
        tags={
            "training_set": before["features"]["training_set"],
            "features": ", ".join(view["label"] for view in before["features"]["views"]),
        },
    )


def _params(manifest: Ensemble) -> dict[str, Any]:
    """The manifest's settings, flat."""
    params = {f"split.{name}": value for name, value in manifest.split.model_dump().items()}
    for stage in manifest.stage:
        params |= {f"{stage.name}.{name}": value for name, value in stage.options.items()}
    return params


def _metrics(measured: Document) -> dict[str, float | None]:
    metrics: dict[str, float | None] = {}
    for part, scores in measured.items():
        metrics |= {f"{part}.{name}": scores[name] for name in ("auc", "f1", "far", "mar")}
        metrics |= {f"{part}.auc.{name}": area for name, area in scores["by_class"].items()}
    return metrics


def _registered(document: Document) -> str:
    return f"{document['name']} version {document['version']} in MLflow, alias candidate"


def _summary(document: Document) -> str:
    stages = ", ".join(f"{stage['name']}#{short(stage['digest'])}" for stage in document["stages"])
    area = document["metrics"]["test"]["auc"]
    return stages if area is None else f"{stages}; AUC {area:.3f} on held-out rows"
