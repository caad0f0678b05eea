"""Step 6: features now against the training reference, with Evidently."""

from pathlib import Path

from prefect import flow

from firnline import wiring
from firnline.evidence.drift import judge
from firnline.workload import Workload, locate
from flows.rows import divided
from flows.shadow import shadow
from flows.steps import Document, Results, Step, code, folder_of, run_step
from flows.verdicts import publish, summarise

_CODE = (
    "firnline.adapters.evidently_drift",
    "firnline.evidence.drift",
    "firnline.evidence.sampling",
)


@flow(name="drift", validate_parameters=False)
def drift(ensemble: str, data: str | None = None, before: Results | None = None) -> Results:
    """Judge whether features have moved since training.

    Args:
        ensemble: Name or folder of the ensemble.
        data: As for `ingest`; only used when `before` is not given.
        before: Results of the steps before; run, or reused, when not given.
    """
    before = before or shadow(ensemble, data)
    workload = locate(ensemble, wiring.settings().project)
    inputs = {
        "training_set": before["features"]["training_set"],
        "split": workload.manifest.split.model_dump(mode="json"),
        "code": code(*_CODE, "models.split", packages=("evidently", "numpy")),
    }

    def make(out: Path) -> Document:
        return _compare(workload, before, out)

    step = Step(workload.name, "drift", inputs, "comparing features", make, summarise)
    document = run_step(step)
    report = folder_of(document) / "drift.html"
    publish(workload.name, document["decision"], reused=document["reused"], report=report)
    return {**before, "drift": document}


def _compare(workload: Workload, before: Results, out: Path) -> Document:
    import pyarrow.parquet as pq

    from firnline.adapters.evidently_drift import compare

    manifest = workload.manifest
    training_set = folder_of(before["features"]) / "training_set.parquet"
    frame, parts = divided(manifest, before["features"])
    rows = pq.read_table(training_set)
    reference, current = out / "reference.parquet", out / "current.parquet"
    pq.write_table(rows.filter(parts.train), reference)
    pq.write_table(rows.filter(parts.test | parts.later), current)
    comparison = compare(reference, current, frame.names, out)
    reference.unlink()
    current.unlink()
    decision = judge(
        manifest.name, comparison, inputs={"training_set": before["features"]["training_set"]}
    )
    wiring.ledger().append(decision)
    return {"decision": decision.document()}
