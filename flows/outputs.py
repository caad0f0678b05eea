"""Stage outputs as feature versions: another model, another version, published with its data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from firnline import wiring
from firnline.adapters.artifact_store import locked, write_atomically
from firnline.adapters.lock_file import read_lock
from firnline.contracts.breach import refuse
from firnline.contracts.facts import of_document
from firnline.contracts.handshake import check
from firnline.contracts.lock import Lock, add, render
from firnline.contracts.outputs import StageOutputs
from firnline.workload import Workload
from flows.steps import Document, folder_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from models.fit import FittedEnsemble
    from models.recipe import Frame
    from models.split import Parts


def write(
    workload: Workload, fitted: FittedEnsemble, frame: Frame, parts: Parts, out: Path
) -> None:
    """Write what each stage gives for the rows of the training frame, one folder a stage.

    No value is a fitted answer: training rows hold what folds that had not seen them said, or
    NaN; all other rows hold what the released stage says.
    """
    import numpy as np

    from firnline.adapters import stage_outputs

    made = fitted.predict(frame)
    for stage in workload.manifest.stage:
        widths = {output.name: output.width for output in stage.outputs}
        blocks = []
        for name in widths:
            full = f"{stage.name}.{name}"
            learned: NDArray[np.float32] | None = fitted.out_of_fold.get(full)
            block = made[full].copy()
            block[parts.train] = np.nan if learned is None else learned[parts.train]
            blocks.append(block)
        stage_outputs.write(
            out / stage.name,
            workload.manifest.key,
            stage_outputs.columns_of(widths),
            frame.entities,
            frame.times,
            np.concatenate(blocks, axis=1),
        )


def publish(workload: Workload, trained: Document) -> Document:
    """Give every trained stage's outputs their version, and Feast its views and services.

    Returns:
        Stage -> `reference`, `label`, `table` and `snapshot` of its outputs.

    Raises:
        HandshakeError: H1 to H8, the stages do not belong together; nothing is published.
    """
    manifest, facts = workload.manifest, of_document(trained["facts"], "the training")
    refuse(check(facts), "publishing stage outputs")
    path = wiring.outputs_lock()
    with locked(path.with_suffix(".flock")):
        known = read_lock(path)
        versions = _versions(workload, trained, known)
        write_atomically(path, render(add(known, versions.values())))
    data, found = wiring.feature_data(), {}
    for stage, version in versions.items():
        folder = folder_of(trained) / "outputs" / stage
        snapshot = data.commit(
            version.table, version.digest(), folder, timestamp_column="event_timestamp"
        )
        found[stage] = {
            "reference": version.reference,
            "label": version.label,
            "table": version.table,
            "snapshot": snapshot.digest,
        }
    store = wiring.feature_store()
    store.apply(manifest.ensemble.entity, manifest.key, list(versions.values()))
    reads = {
        stage.name: [
            *stage.features,
            *dict.fromkeys(versions[name.partition(".")[0]].reference for name in stage.upstream),
        ]
        for stage in manifest.stage
    }
    services = store.define(facts, reads)
    return {stage: {**part, "service": services[stage]} for stage, part in found.items()}


def _versions(workload: Workload, trained: Document, known: Lock) -> dict[str, StageOutputs]:
    """The version of each stage's outputs: the one its model has, or the next."""
    from firnline.adapters.stage_outputs import columns_of

    manifest = workload.manifest
    versions: dict[str, StageOutputs] = {}
    for stage, record in zip(manifest.stage, trained["stages"], strict=True):
        name = f"{manifest.name}_{stage.name}"
        mine = [line for line in known if line.record["name"] == name]
        same = [line for line in mine if line.record["model"] == record["digest"]]
        newest = max((line.record["version"] for line in mine), default=0)
        producers = dict.fromkeys(full.partition(".")[0] for full in stage.upstream)
        upstream = {versions[each].reference: versions[each].digest() for each in producers}
        versions[stage.name] = StageOutputs(
            ensemble=manifest.name,
            stage=stage.name,
            version=same[0].record["version"] if same else newest + 1,
            entity=manifest.ensemble.entity,
            key=manifest.key,
            fields=columns_of({output.name: output.width for output in stage.outputs}),
            ttl_seconds=_pace(trained),
            model=record["digest"],
            reads={**record["features"], **upstream},
        )
    return versions


def _pace(trained: Document) -> int:
    """Seconds from one row to the next: outputs older than that are of another window."""
    clocks = (stage["clock"] for stage in trained["facts"]["stages"])
    return next(int(clock["every_seconds"]) for clock in clocks if clock)
