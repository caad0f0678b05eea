"""Step 2: clean readings -> versioned window features, in Feast; a point-in-time training set."""

from datetime import datetime, timedelta
from pathlib import Path

from prefect import flow

from firnline import wiring
from firnline.adapters.artifact_store import write_atomically
from firnline.contracts.breach import Breach, refuse
from firnline.contracts.features import WindowView
from firnline.decision import Decision
from firnline.digest import file_digest, manifest_digest
from firnline.errors import HandshakeError
from firnline.workload import Workload, locate, views
from flows.agree import agreed
from flows.ingest import ingest
from flows.progress import reporter
from flows.steps import Document, Results, Step, code, folder_of, run_step
from flows.verdicts import publish

_CODE = (
    "firnline.adapters.duckdb_features",
    "firnline.adapters.duckdb_windows",
    "firnline.adapters.feast_offline",
    "firnline.adapters.feast_objects",
    "firnline.adapters.feast_store",
    "firnline.adapters.feature_data",
    "firnline.adapters.feature_data_log",
    "firnline.adapters.feature_data_parts",
    "firnline.adapters.feature_data_restore",
    "firnline.adapters.feature_data_snapshots",
    "firnline.adapters.partitions",
    "firnline.adapters.spine",
)


@flow(name="features", validate_parameters=False)
def features(ensemble: str, data: str | None = None, before: Results | None = None) -> Results:
    """Compute the ensemble's feature views and its training set.

    Args:
        ensemble: Name or folder of the ensemble.
        data: As for `ingest`; only used when `before` is not given.
        before: Results of the steps before; run, or reused, when not given.

    Raises:
        HandshakeError: A view is missing or not valid, H1 to H4 when what is defined does not
            belong together, FV10 when a version stands for other readings, a G-code when a
            registered one would change.
    """
    before = before or ingest(ensemble, data)
    workload = locate(ensemble, wiring.settings().project)
    found = views(workload)
    agreed(workload, found, "features")
    ingested = before["ingest"]
    _same_readings(found, ingested)
    damaged = _damaged(workload, found)
    inputs = {
        "ingest": ingested["key"],
        "views": {view.reference: view.digest() for view in found},
        "stages": {stage.name: list(stage.features) for stage in workload.manifest.stage},
        "code": code(*_CODE, packages=("duckdb", "ibis-framework", "feast", "pyarrow")),
    }

    def make(out: Path) -> Document:
        return _compute(workload, found, folder_of(ingested), out)

    step = Step(workload.name, "features", inputs, "computing features", make, _summary)
    document = run_step(step)
    _restore(workload, found, document, damaged=damaged)
    _publish(workload, found, document, datetime.fromisoformat(ingested["last"]))
    return {**before, "features": document}


def _compute(
    workload: Workload, found: tuple[WindowView, ...], ingested: Path, out: Path
) -> Document:
    from firnline.adapters import spine
    from firnline.adapters.duckdb_features import compute

    settings = wiring.settings()
    data = wiring.feature_data()
    described: list[Document] = []
    for view in found:
        counts = compute(
            view,
            ingested / "clean",
            out,
            memory_limit=settings.memory_limit,
            temp_limit=settings.temp_limit,
            threads=settings.threads,
            progress=reporter().advance,
        )
        described.append(
            {
                "reference": view.reference,
                "label": view.label,
                "digest": view.digest(),
                "windows": counts.windows,
                "data": counts.digest,
                "snapshot": data.commit(view.table, view.digest(), out / view.table).digest,
            }
        )
    primary = workload.manifest.references()[0]
    table = next(view.table for view in found if view.reference == primary)
    reporter().start("features", "joining the training set, point in time")
    rows_file, training_set = out / "spine.parquet", out / "training_set.parquet"
    spine.build(out / table, ingested / "labels.parquet", workload.manifest.key, rows_file)
    _apply(workload, found)
    rows = wiring.feature_store().training_set(
        rows_file,
        workload.manifest.references(),
        training_set,
        {view["reference"]: view["snapshot"] for view in described},
    )
    rows_file.unlink()
    return {
        "views": described,
        "digest": manifest_digest({view["reference"]: view["data"] for view in described}),
        "training_set": file_digest(training_set),
        "rows": rows,
    }


def _same_readings(found: tuple[WindowView, ...], ingested: Document) -> None:
    """A version that stands for one snapshot of readings is computed from no other.

    Raises:
        HandshakeError: FV10 when there are other readings.
    """
    refuse(
        [
            Breach(
                "FV10",
                f"{view.reference} stands for the readings {view.snapshot}, these are "
                f"{ingested['dvc']}",
                f"view {view.reference}",
                "take these readings back with dvc checkout, or make the view's next version",
            )
            for view in found
            if view.snapshot is not None and view.snapshot != ingested["dvc"]
        ],
        "features",
    )


def _apply(workload: Workload, found: tuple[WindowView, ...]) -> None:
    identity = workload.manifest.ensemble
    wiring.feature_store().apply(identity.entity, identity.key, found)


def _damaged(workload: Workload, found: tuple[WindowView, ...]) -> bool:
    """Whether a view's newest data is not what was committed; what is wrong is told and kept."""
    data = wiring.feature_data()
    damage: list[HandshakeError] = []
    for view in found:
        try:
            newest = data.head(view.table)
            if newest is not None:
                data.files(newest)
        except HandshakeError as error:
            damage.append(error)
    if not damage:
        return False
    reason = "; ".join(f"{error.where}: {error.found}" for error in damage)
    decision = Decision(
        kind="features",
        subject=workload.name,
        verdict="damaged",
        reason=reason,
        rules=tuple(dict.fromkeys(error.code for error in damage)),
        numbers={"views": len(damage)},
        inputs={view.reference: view.digest() for view in found},
    )
    wiring.ledger().append(decision)
    publish(workload.name, decision.document(), reused=False)
    reporter().start("features", f"restoring damaged data: {reason}")
    return True


def _restore(
    workload: Workload, found: tuple[WindowView, ...], document: Document, *, damaged: bool
) -> None:
    """Put back what was lost or altered, from the step's own windows; they are checked on use."""
    data, folder = wiring.feature_data(), folder_of(document)
    snapshots = {view["reference"]: view["snapshot"] for view in document["views"]}
    for view in found:
        newest = None if damaged else data.head(view.table)
        if newest is None or newest.digest != snapshots[view.reference]:
            data.commit(view.table, view.digest(), folder / view.table)


def _publish(
    workload: Workload, found: tuple[WindowView, ...], document: Document, last: datetime
) -> None:
    """Bring the newest values into the online store."""
    state = wiring.settings().state
    mark = state / "features" / f"{workload.name}.online"
    stores = (state / "feast" / "registry.db", state / "feast" / "online.db")
    if all(store.is_file() for store in stores) and _read(mark) == document["key"]:
        return
    reporter().start("features", "materialising the online store")
    _apply(workload, found)
    newest = last + max(timedelta(seconds=view.window_seconds) for view in found)
    wiring.feature_store().materialize(newest, workload.manifest.references())
    write_atomically(mark, str(document["key"]))


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None


def _summary(document: Document) -> str:
    labels = ", ".join(view["label"] for view in document["views"])
    return f"{labels}; {document['rows']:,} training rows"
