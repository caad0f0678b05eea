"""Step 3: training set -> two stages, out-of-fold between them -> feature versions and MLflow."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from prefect import flow

from firnline import wiring
from firnline.contracts.breach import refuse
from firnline.contracts.facts import document as facts_document
from firnline.contracts.facts import of_document
from firnline.contracts.facts import trained as with_training
from firnline.contracts.handshake import Facts, check
from firnline.contracts.stages import stage_digest
from firnline.digest import bytes_digest, short
from firnline.workload import Workload, locate, views
from flows import outputs
from flows.agree import agreed
from flows.features import features
from flows.kept import again, kept_stages, remember, remembered
from flows.progress import reporter
from flows.register import register
from flows.rows import divided
from flows.steps import Document, Results, Step, code, run_step

_CODE = (
    "models.fit",
    "models.split",
    "models.evaluate",
    "models.float_onnx",
    "models.kept",
    "models.mlp",
    "firnline.adapters.stage_outputs",
    "firnline.evidence.scores",
)


@flow(name="train", validate_parameters=False)
def train(
    ensemble: str,
    data: str | None = None,
    before: Results | None = None,
    only: list[str] | None = None,
    chain: bool = True,
) -> Results:
    """Train stages, publish what they give as feature versions, and register the candidate.

    Args:
        ensemble: Name or folder of the ensemble.
        data: As for `ingest`; only used when `before` is not given.
        before: Results of the steps before; run, or reused, when not given.
        only: Stages to train; the others stay as they were registered. All when not given.
        chain: Train the stages that read a trained one as well.

    Raises:
        HandshakeError: H1 to H8 when stages would not belong together, among them every stage
            that learned from another version of what it reads; a recipe cannot be had, or does
            not do what its stage declares.
    """
    before = before or features(ensemble, data)
    workload = locate(ensemble, wiring.settings().project)
    facts = agreed(workload, views(workload), "train")
    training = again(workload.manifest, only, chain=chain)
    last = remembered(workload.name) if only is not None else None
    computed = before["features"]
    inputs = {
        "training_set": computed["training_set"],
        "manifest": workload.manifest.digest(),
        "code": code(
            *_CODE,
            packages=("numpy", "scikit-learn", "onnx", "onnxruntime"),
            folder=workload.folder,
        ),
        "kept": {
            stage["name"]: stage["digest"]
            for stage in (last["stages"] if last else ())
            if stage["name"] not in training
        },
    }

    def make(out: Path) -> Document:
        return _fit(workload, computed, Training(facts, training, last), out)

    step = Step(workload.name, "train", inputs, "training stages", make, _summary)
    document = run_step(step)
    published = _published(workload, document)
    document = {**document, "outputs": published}
    registered = register(workload, before, document)
    remember(workload.name, document, published)
    return {**before, "train": document, "register": registered}


@dataclass(frozen=True)
class Training:
    """What a training is about.

    Attributes:
        facts: The ensemble as it is defined.
        stages: Names of the stages to train.
        last: The training that the others are kept from.
    """

    facts: Facts
    stages: tuple[str, ...]
    last: Document | None


def _fit(workload: Workload, computed: Document, training: Training, out: Path) -> Document:
    from models.evaluate import evaluate
    from models.fit import fit_ensemble
    from models.float_onnx import input_names, merge

    manifest = workload.manifest
    frame, parts = divided(manifest, computed)
    kept = kept_stages(manifest, training.stages, training.last, frame)
    fitted = fit_ensemble(manifest, frame, parts, kept)
    stages = _stages(workload, computed, fitted, training, out)
    merged = merge(fitted.graphs())
    facts = _facts(training, stages, input_names(merged))
    refuse(check(facts), "training")
    reporter().start("train", "measuring on held-out rows")
    (out / "ensemble.onnx").write_bytes(merged)
    outputs.write(workload, fitted, frame, parts, out / "outputs")
    scores = {
        name: evaluate(fitted.rule, fitted.rule.scores(fitted.predict(chosen)), chosen.labels)
        for name, mask in (("test", parts.test), ("later", parts.later))
        if len(chosen := frame.rows(mask))
    }
    return {
        "stages": stages,
        "facts": facts_document(facts),
        "stage_metrics": _alone(workload, fitted, frame.rows(parts.test)),
        "columns": list(fitted.columns()),
        "threshold": fitted.rule.threshold,
        "classes": list(fitted.rule.classes),
        "output": fitted.rule.output,
        "metrics": {name: found.document() for name, found in scores.items()},
        "rows": {"train": int(parts.train.sum()), "test": int(parts.test.sum())},
        "float": bytes_digest(merged),
    }


def _stages(
    workload: Workload, computed: Document, fitted: Any, training: Training, out: Path
) -> list[Document]:
    """Write each stage's graph, and say what it is; a kept stage is what it was."""
    views = {view["reference"]: view for view in computed["views"]}
    before = {stage["name"]: stage for stage in (training.last or {"stages": ()})["stages"]}
    described: list[Document] = []
    for part in fitted.stages:
        stage, graph = part.stage, part.fitted.to_onnx()
        (out / f"{stage.name}.onnx").write_bytes(graph)
        if stage.name not in training.stages:
            described.append(before[stage.name])
            continue
        digests = {made["name"]: made["digest"] for made in described}
        made_of = {
            "name": stage.name,
            "recipe": stage.recipe,
            "options": stage.options,
            "onnx": bytes_digest(graph),
            "features": {name: views[name]["digest"] for name in stage.features},
            "upstream": {name: digests[name.partition(".")[0]] for name in stage.upstream},
            "training_set": computed["training_set"],
        }
        described.append(
            {
                **made_of,
                "digest": stage_digest(**made_of),
                "labels": [views[name]["label"] for name in stage.features],
                "columns": list(part.columns),
            }
        )
    return described


def _facts(training: Training, stages: list[Document], inputs: tuple[str, ...]) -> Facts:
    """What is known now: of trained stages as they are defined, of kept ones as they were."""
    last = training.last
    before = of_document(last["facts"], "the last training").stages if last else ()
    kept = {stage.name: stage for stage in before}
    learned = {
        stage["name"]: {name.partition(".")[0]: found for name, found in stage["upstream"].items()}
        for stage in stages
    }
    digests = {stage["name"]: stage["digest"] for stage in stages}
    facts = with_training(training.facts, digests, learned, inputs)
    return replace(
        facts,
        stages=tuple(
            stage if stage.name in training.stages else kept[stage.name] for stage in facts.stages
        ),
    )


def _published(workload: Workload, trained: Document) -> Document:
    """Publish what stages give, once a training; Feast is not even imported the second time."""
    last = remembered(workload.name)
    known = (wiring.settings().state / "feast" / "registry.db").is_file()
    if last is not None and known and last["key"] == trained["key"]:
        return dict(last["outputs"])
    reporter().start("train", "publishing stage outputs")
    return outputs.publish(workload, trained)


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


def _summary(document: Document) -> str:
    stages = ", ".join(f"{stage['name']}#{short(stage['digest'])}" for stage in document["stages"])
    area = document["metrics"]["test"]["auc"]
    return stages if area is None else f"{stages}; AUC {area:.3f} on held-out rows"
