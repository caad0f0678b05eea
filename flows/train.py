"""Step 3: training set -> two stages, out-of-fold between them -> MLflow."""

from pathlib import Path
from typing import Any

from prefect import flow

from firnline import wiring
from firnline.digest import bytes_digest, digest, short
from firnline.workload import Workload, locate
from flows.features import features
from flows.progress import reporter
from flows.steps import Document, Results, Step, code, folder_of, run_step

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
    return {**before, "train": document}


def _fit(workload: Workload, computed: Document, out: Path) -> Document:
    from models.evaluate import evaluate
    from models.fit import fit_ensemble, load_frame
    from models.float_onnx import merge
    from models.split import split

    manifest = workload.manifest
    training_set = folder_of(computed) / "training_set.parquet"
    frame = load_frame(training_set, manifest.key, manifest.references())
    parts = split(frame, manifest.split)
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


def _summary(document: Document) -> str:
    stages = ", ".join(f"{stage['name']}#{short(stage['digest'])}" for stage in document["stages"])
    area = document["metrics"]["test"]["auc"]
    return stages if area is None else f"{stages}; AUC {area:.3f} on held-out rows"
