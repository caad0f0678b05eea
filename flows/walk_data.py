"""From features to raw readings: versions, training set, the snapshot, and the rows themselves."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from firnline import wiring
from firnline.contracts.features import WindowView
from firnline.contracts.reading import load as load_contract
from firnline.digest import file_digest, short
from firnline.errors import ContractError, HandshakeError
from firnline.workload import Workload, locate, views
from flows.walk_answer import Answer
from flows.walk_links import Seen
from flows.walk_row import Row


@dataclass(frozen=True)
class Defined:
    """An ensemble as this project defines it.

    Attributes:
        workload: Its manifest and folder.
        views: Every view its stages read, in the manifest's order.
        digests: Reference -> digest of the view.
    """

    workload: Workload
    views: tuple[WindowView, ...]
    digests: Mapping[str, str]


@dataclass(frozen=True)
class Ingested:
    """Raw readings and what an ingest made of them.

    Attributes:
        sha256: Digest of the raw readings.
        folder: Of the ingest.
    """

    sha256: str
    folder: Path


def versions(manifest: Mapping[str, Any]) -> tuple[Seen, Defined]:
    """Every feature version is what the bundle names, the lock publishes and is defined here.

    Raises:
        HandshakeError: W7, two of these differ; M-codes, the ensemble is not defined here.
    """
    workload = locate(str(manifest["name"]), wiring.settings().project)
    found, lock = views(workload), wiring.lock().digests()
    # A view's digest is over the source of its transformation: it is computed once.
    digests = {view.reference: view.digest() for view in found}
    for view in found:
        named = manifest["features"].get(view.reference, {"digest": "nothing"})
        told = {
            "the bundle names": str(named["digest"]),
            "the lock publishes": lock.get(view.reference, "nothing"),
            "the view here is": digests[view.reference],
        }
        if len(set(told.values())) > 1:
            raise HandshakeError(
                "W7",
                found=", ".join(f"{who} #{short(what)}" for who, what in told.items()),
                where=view.reference,
                mend="a published version never changes: undo the change, or make it the next",
            )
    named_by = {f"{name}#{short(made)}": made for name, made in digests.items()}
    seen = Seen("as the bundle names them, as published, and as defined", named_by)
    return seen, Defined(workload, found, digests)


def data(manifest: Mapping[str, Any], defined: Defined) -> tuple[Seen, None]:
    """The windows that the model learned from, every partition hashed again.

    Raises:
        HandshakeError: W7, they are of another version; P-codes, they are not what was committed.
    """
    store, digests, lines = wiring.feature_data(), {}, []
    for view in defined.views:
        snapshot = store.snapshot(view.table, str(manifest["features"][view.reference]["snapshot"]))
        store.files(snapshot)
        made = defined.digests[view.reference]
        if snapshot.view != made:
            raise HandshakeError(
                "W7",
                found=f"its data is of #{short(snapshot.view)}, the view is #{short(made)}",
                where=view.reference,
                mend=f"compute it again: firnline run {manifest['name']}",
            )
        digests[f"{view.reference} data"] = snapshot.digest
        lines.append(f"{view.reference}: {snapshot.rows:,} windows, {len(snapshot.parts)} files")
    return Seen("every partition is what was committed", digests, tuple(lines)), None


def training_set(manifest: Mapping[str, Any]) -> tuple[Seen, None]:
    """The training set that every stage names, hashed again.

    Raises:
        HandshakeError: W7, it is not here, or was made of other data.
    """
    wanted = str(manifest["training_set"])
    found = wiring.artifacts().find(manifest["name"], "features", training_set=wanted)
    if found is None:
        raise HandshakeError(
            "W7",
            found=f"no training set {short(wanted)}, or it is not whole",
            where=f"what the features step made for {manifest['name']}",
            mend=f"run it again on the same readings: firnline run {manifest['name']}",
        )
    folder, document = found
    made = file_digest(folder / "training_set.parquet")
    said = {view["reference"]: view["snapshot"] for view in document["views"]}
    data = {name: view["snapshot"] for name, view in manifest["features"].items()}
    others = [s["name"] for s in manifest["stages"] if s["training_set"] != wanted]
    if made != wanted or said != data or others:
        raise HandshakeError(
            "W7",
            found=f"the file is {short(made)}, the bundle names {short(wanted)}"
            + (f"; {', '.join(others)} learned from another" if others else ""),
            where=str(folder / "training_set.parquet"),
            mend=f"run it again: firnline run {manifest['name']}",
        )
    told = f"{document['rows']:,} rows, the one of every stage"
    return Seen(told, {"training set": made}), None


def trained_on(manifest: Mapping[str, Any]) -> tuple[Seen, Ingested]:
    """The readings that the model learned from, hashed again.

    Raises:
        ContractError: W8, the recorded readings are not here, or are others.
    """
    named = manifest["snapshot"]
    return _snapshot(str(manifest["name"]), str(named["sha256"]), str(named["dvc"]))


def newest(name: str) -> tuple[Seen, Ingested]:
    """The readings that are recorded now, hashed again: what a row is of that came later.

    Raises:
        ContractError: W8, the recorded readings are not here, or are others; C10, they changed.
    """
    from firnline.adapters.dvc_data import current

    found = current(name, wiring.settings().project.resolve())
    if found is None:
        raise _lost("recorded readings", name)
    return _snapshot(name, found.sha256, found.dvc)


def _snapshot(name: str, sha256: str, dvc: str) -> tuple[Seen, Ingested]:
    """A snapshot by both of its digests, and the ingest that cleaned it."""
    from firnline.adapters.dvc_cache import cached_digest

    found = wiring.artifacts().find(name, "ingest", snapshot=sha256)
    if found is None:
        raise _lost(f"clean readings of snapshot {short(sha256)}", name)
    folder, document = found
    made = cached_digest(dvc, wiring.settings().project.resolve())
    if made is None or made != sha256 or document["dvc"] != dvc:
        raise ContractError(
            "W8",
            found=f"DVC's {dvc[:12]} holds {short(made) if made else 'nothing'}, named is "
            f"{short(sha256)}",
            where="the snapshot of raw readings",
            mend="take the recorded readings back: dvc fetch, or the backup of .dvc/cache",
        )
    seen = Seen(
        f"{document['readings']:,} readings, {sum(document['quarantined'].values()):,} of them "
        "quarantined",
        {"readings": made, "dvc": dvc},
    )
    return seen, Ingested(sha256, folder)


def rows(answer: Answer, row: Row, workload: Workload, ingested: Ingested) -> tuple[Seen, None]:
    """The readings in the answer's windows, each found in the raw file it came in.

    Raises:
        ContractError: W9, there is none, or one is in no raw file.
    """
    from firnline.adapters.window_rows import readings

    windows = {name: window for name, window in row.windows.items() if window is not None}
    found = {
        name: readings(
            ingested.folder, workload.manifest.key, answer.entity, window.start, window.end
        )
        for name, window in windows.items()
    }
    events = {event for each in found.values() for event in each.events}
    if not events:
        raise _missing(answer, "there is no clean reading in its windows")
    raw = _raw(workload, answer, events, ingested)
    lines = [
        f"{name}: {len(each.events)} readings, {each.first:%H:%M:%S} to {each.last:%H:%M:%S}"
        + "".join(f", {count} {reason}" for reason, count in each.quarantined.items())
        for name, each in found.items()
        if each.first and each.last
    ]
    if raw is None:
        return Seen(f"{len(events)} clean readings of {answer.entity}", {}, tuple(lines)), None
    if set(raw) != events:
        raise _missing(answer, f"{len(events - set(raw))} of {len(events)} are in no raw file")
    lines += [f"{file}: {_span(raw, file)}" for file in sorted({file for file, _ in raw.values()})]
    told = f"{len(events)} readings of {answer.entity}, each in its raw file"
    return Seen(told, {}, tuple(lines)), None


def _raw(
    workload: Workload, answer: Answer, events: set[str], ingested: Ingested
) -> dict[str, tuple[str, int]] | None:
    """The events' raw rows; None where other readings lie in their place now."""
    from firnline.adapters.dvc_data import current
    from firnline.adapters.raw_rows import raw_rows

    settings = wiring.settings()
    there = current(workload.name, settings.project.resolve())
    if there is None or there.sha256 != ingested.sha256:
        return None
    contract = load_contract(workload.contract)
    return raw_rows(settings.data / workload.name, contract, answer.entity, events)


def _span(raw: Mapping[str, tuple[str, int]], file: str) -> str:
    places = [place for name, place in raw.values() if name == file]
    return f"{len(places)} rows from {min(places):,} to {max(places):,}"


def _lost(what: str, name: str) -> ContractError:
    return ContractError(
        "W8",
        found=f"no {what}, or they are not whole",
        where=f"readings of {name}",
        mend=f"record them, or run it again on the same: firnline run {name}",
    )


def _missing(answer: Answer, found: str) -> ContractError:
    return ContractError(
        "W9",
        found=found,
        where=f"readings of {answer.entity}",
        mend="take the recorded readings back: dvc checkout",
    )
