"""The weekly look for training/serving skew: the same windows, told by three sources."""

import random
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from prefect import flow

from firnline import wiring
from firnline.contracts.features import WindowView
from firnline.decision import Decision
from firnline.digest import digest
from firnline.errors import EvidenceError
from firnline.evidence.reconcile import Aligned, judge
from firnline.workload import Workload, locate, views
from flows.features import features
from flows.progress import reporter
from flows.steps import Document, Results, folder_of
from flows.verdicts import publish

if TYPE_CHECKING:
    from firnline.adapters.newest_windows import Windows

SAMPLE = 1_000


@flow(name="reconcile", validate_parameters=False)
def reconcile(
    ensemble: str,
    data: str | None = None,
    sample: int = SAMPLE,
    day: str | None = None,
    before: Results | None = None,
) -> Document:
    """Compare random windows offline, online and computed anew.

    The newest window of a device is what the online store holds; of these, `sample` devices are
    drawn by the data's digest and the day, so that each week looks at others and a look can be
    taken again.

    Args:
        ensemble: Name or folder of the ensemble.
        data: As for `ingest`; only used when `before` is not given.
        sample: Windows of each feature version to compare; all where there are fewer.
        day: ISO date of the draw; today (UTC) when not given.
        before: Results of the steps before; run, or reused, when not given.

    Returns:
        The decision's document.

    Raises:
        EvidenceError: R2 when more than 0.1 % of values or windows differ, R3 when there was
            nothing to compare.
        HandshakeError: An N- or P-code when a store holds another version, or damaged data.
    """
    before = before or features(ensemble, data)
    workload = locate(ensemble, wiring.settings().project)
    day = day or datetime.now(UTC).date().isoformat()
    reporter().start("reconcile", "comparing offline, online and fresh windows")
    described = {view["reference"]: view for view in before["features"]["views"]}
    found = views(workload)
    compared = [
        _aligned(workload, view, described[view.reference]["snapshot"], before, sample, day)
        for view in found
    ]
    inputs = {view.reference: str(described[view.reference]["snapshot"]) for view in found}
    inputs["draw"] = digest({"day": day, "sample": sample})
    decision = judge(workload.name, compared, inputs=inputs)
    wiring.ledger().append(decision)
    document = decision.document()
    publish(workload.name, document, reused=False)
    refuse(decision)
    return document


def refuse(decision: Decision) -> None:
    """Fail on what did not agree.

    Raises:
        EvidenceError: R2 when sources differ, R3 when there was nothing to compare.
    """
    where = f"features of {decision.subject}"
    if "R2" in decision.rules:
        raise EvidenceError(
            "R2",
            found=decision.reason,
            where=where,
            mend="docs/online.md tells which source to look at first; promote no model until "
            "they agree",
        )
    if "R3" in decision.rules:
        raise EvidenceError(
            "R3",
            found=decision.reason,
            where=where,
            mend="see that readings have come in within the TTL of a feature version, and that "
            "they make windows",
        )


def _aligned(
    workload: Workload,
    view: WindowView,
    snapshot: str,
    before: Results,
    sample: int,
    day: str,
) -> Aligned:
    """A sample of a version's newest windows, by each of the three sources."""
    import pyarrow.parquet as pq

    from firnline.adapters import newest_windows

    settings, store = wiring.settings(), wiring.feature_store()
    windows = _sample(view, snapshot, _online_until(workload, before), sample, day)
    if not windows.keys:
        nothing = np.empty((0, len(view.features)))
        return Aligned(view.reference, view.features, nothing, nothing, nothing)
    names = [f"{view.name}__{feature}" for feature in view.features]
    with tempfile.TemporaryDirectory(dir=settings.state) as folder:
        scratch = Path(folder)
        rows = newest_windows.spine(windows, view.key, scratch / "spine.parquet")
        joined = scratch / "joined.parquet"
        store.training_set(rows, [view.reference], joined, {view.reference: snapshot})
        served = store.online(windows.keys, [view.reference], {view.reference: view.digest()})
        computed = newest_windows.fresh(
            view,
            folder_of(before["ingest"]) / "clean",
            windows,
            scratch,
            memory_limit=settings.memory_limit,
            temp_limit=settings.temp_limit,
            threads=settings.threads,
        )
        return Aligned(
            view.reference,
            view.features,
            offline=newest_windows.matrix(pq.read_table(joined), names),
            online=np.array([served[name] for name in names], np.float64).T,
            fresh=computed,
        )


def _sample(view: WindowView, snapshot: str, end: datetime, sample: int, day: str) -> "Windows":
    """Some of the newest windows that are online, drawn by the data and the day."""
    from firnline.adapters import newest_windows

    data = wiring.feature_data()
    first = end - timedelta(seconds=view.ttl_seconds)
    files = data.files(data.snapshot(view.table, snapshot), _epoch_us(first), _epoch_us(end))
    windows = newest_windows.newest(files, view, end)
    entities = range(len(windows.keys))
    draw = random.Random(digest({"data": snapshot, "day": day}))  # noqa: S311  Not a secret.
    return windows.take(sorted(draw.sample(entities, min(sample, len(entities)))))


def _online_until(workload: Workload, before: Results) -> datetime:
    """What the features step brought the online store up to: the last window, cut short or not."""
    last = datetime.fromisoformat(before["ingest"]["last"])
    return last + max(timedelta(seconds=view.window_seconds) for view in views(workload))


def _epoch_us(time: datetime) -> int:
    return (time - datetime.fromtimestamp(0, UTC)) // timedelta(microseconds=1)
