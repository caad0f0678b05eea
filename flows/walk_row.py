"""From a score to the features it was made of: the same row, and the same score bits."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edge.session import exact_in_eight_bits
from firnline import wiring
from firnline.contracts.features import WindowView, parse_reference
from firnline.digest import bytes_digest, short
from firnline.errors import EvidenceError, HandshakeError
from flows.walk_answer import Answer
from flows.walk_links import Seen

if TYPE_CHECKING:
    from firnline.adapters.window_rows import Window

_ROUNDING = 1 / 256  # One step of int8 over a range of one, as the device's own self-test allows.


@dataclass(frozen=True)
class Row:
    """The features an answer was given for.

    Attributes:
        values: float32 [columns], in the bundle's order.
        windows: Reference -> the window its columns come from; None where the entity had none.
        data: Reference -> digest of the data that the window was read from.
        trained: Whether that is the data the model was trained on.
    """

    values: NDArray[np.float32]
    windows: Mapping[str, "Window | None"]
    data: Mapping[str, str]
    trained: bool


def stored(
    answer: Answer, manifest: Mapping[str, Any], views: tuple[WindowView, ...]
) -> tuple[Seen, Row]:
    """The row of the offline store with the digest that the device logged.

    The data that the model was trained on is looked at first, and then the newest.

    Args:
        answer: What the device logged.
        manifest: Of the bundle.
        views: The ensemble's, in the manifest's order.

    Raises:
        HandshakeError: W6, there is no such row, or it has other values; P-codes, the data is not
            what was committed.
    """
    tried: dict[str, str] = {}
    for told, data in _data(manifest, views):
        row = _row(answer, manifest, views, data)
        made = bytes_digest(row.values.tobytes())
        tried[told] = made
        if made == answer.features:
            windows = [view.reference for view in views if row.windows[view.reference]]
            seen = Seen(
                f"{len(row.values)} features of {answer.entity} at {_time(answer.time)}, in {told}",
                {"row": made, **{name: row.data[name] for name in windows}},
                tuple(_told(name, row.windows[name]) for name in row.windows),
            )
            return seen, row
    listed = ", ".join(f"{short(made)} in {told}" for told, made in tried.items())
    raise HandshakeError(
        "W6",
        found=f"the device scored the row {short(answer.features)}, stored is {listed}",
        where=f"{answer.entity} at {_time(answer.time)}",
        mend="compare what the device was given with the store: firnline reconcile "
        f"{manifest['name']}",
    )


def scored(answer: Answer, row: Row, slots: Mapping[str, Path]) -> tuple[Seen, None]:
    """The row through the device's graphs once more: the same score, bit for bit.

    Args:
        answer: What the device logged.
        row: What it scored.
        slots: Target -> device bundle that was made anew.

    Raises:
        EvidenceError: W5, the model says something else, or nothing here can run it.
    """
    from edge.agent.runner import Runner

    runnable = {target: slot for target, slot in slots.items() if (slot / "golden").is_dir()}
    if not runnable:
        raise _unlike("no published target of it runs on a processor", answer)
    target, slot = next(iter(runnable.items()))
    made = Runner(slot).score(row.values[np.newaxis])
    score, fault = made.score[0], made.fault[0] if made.fault else ""
    if (bool(made.flagged[0]), fault) != (answer.flagged, answer.fault):
        raise _unlike(
            f"here it is {_verdict(bool(made.flagged[0]), fault)}, the device said "
            f"{_verdict(answer.flagged, answer.fault)}",
            answer,
        )
    same = score.tobytes() == answer.score.tobytes()
    near = abs(float(score) - float(answer.score)) <= _ROUNDING
    if not same and (exact_in_eight_bits() or not near):
        raise _unlike(f"here its score is {score:.9g}, the device said {answer.score:.9g}", answer)
    how = "bit for bit" if same else "within one step of int8: this machine rounds"
    seen = Seen(
        f"{target} gives {score:.9g} again, {how}: {_verdict(answer.flagged, fault)}",
        {"score": bytes_digest(score.tobytes())},
    )
    return seen, None


def computed(
    answer: Answer,
    row: Row,
    manifest: Mapping[str, Any],
    views: tuple[WindowView, ...],
    clean: Path,
) -> tuple[Seen, None]:
    """The row's windows computed anew from clean readings give its very bytes.

    Raises:
        HandshakeError: W7, they do not.
    """
    import tempfile

    from firnline.adapters.newest_windows import Windows, fresh

    values: dict[str, float] = {}
    settings = wiring.settings()
    with tempfile.TemporaryDirectory(dir=settings.state) as folder:
        for view in views:
            window = row.windows[view.reference]
            if window is None:
                continue
            (again,) = fresh(
                view,
                clean,
                Windows((answer.entity,), (window.end,)),
                Path(folder),
                memory_limit=settings.memory_limit,
                temp_limit=settings.temp_limit,
                threads=settings.threads,
            )
            values |= _columns(view, again)
    made = _ordered(manifest, values)
    if made.tobytes() != row.values.tobytes():
        differ = [
            name
            for place, name in enumerate(manifest["input"]["columns"])
            if made[place].tobytes() != row.values[place].tobytes()
        ]
        raise HandshakeError(
            "W7",
            found=f"computed anew, {len(differ)} of {len(made)} features differ: "
            f"{', '.join(differ[:5])}",
            where=f"{answer.entity} at {_time(answer.time)}",
            mend=f"find what changed: firnline lock check, firnline reconcile {manifest['name']}",
        )
    return Seen("computed anew from clean readings, every bit is the same"), None


def _data(
    manifest: Mapping[str, Any], views: tuple[WindowView, ...]
) -> Iterator[tuple[str, dict[str, str]]]:
    """Where a row may be: reference -> snapshot, of the training and of today."""
    trained = {name: str(found["snapshot"]) for name, found in manifest["features"].items()}
    yield "the data it was trained on", trained
    heads = {view.reference: wiring.feature_data().head(view.table) for view in views}
    newest = {name: head.digest for name, head in heads.items() if head is not None}
    if newest != trained and set(newest) == set(trained):
        yield "the newest data", newest


def _row(
    answer: Answer,
    manifest: Mapping[str, Any],
    views: tuple[WindowView, ...],
    data: Mapping[str, str],
) -> Row:
    """An entity's features at a time, joined as a training set is: each view's newest window."""
    from firnline.adapters.window_rows import newest

    store = wiring.feature_data()
    windows: dict[str, Window | None] = {}
    values: dict[str, float] = {}
    for view in views:
        snapshot = store.snapshot(view.table, data[view.reference])
        first = answer.time - view.ttl_seconds * 1_000_000
        files = store.files(snapshot, first, answer.time)
        window = newest(files, view, answer.entity, answer.time)
        windows[view.reference] = window
        if window is not None:
            values |= _columns(view, window.values)
    trained = all(data[name] == found["snapshot"] for name, found in manifest["features"].items())
    return Row(_ordered(manifest, values), windows, data, trained)


def _columns(view: WindowView, values: NDArray[np.float64]) -> dict[str, float]:
    name, _ = parse_reference(view.reference)
    return {
        f"{name}__{feature}": float(value)
        for feature, value in zip(view.features, values, strict=True)
    }


def _ordered(manifest: Mapping[str, Any], values: Mapping[str, float]) -> NDArray[np.float32]:
    columns = manifest["input"]["columns"]
    return np.array([values.get(name, np.nan) for name in columns], np.float64).astype(np.float32)


def _told(reference: str, window: "Window | None") -> str:
    if window is None:
        return f"{reference}: no window within its TTL"
    return f"{reference}: {_time(window.start)} to {_time(window.end)}"


def _time(microseconds: int) -> str:
    return f"{datetime.fromtimestamp(microseconds / 1e6, UTC):%Y-%m-%d %H:%M:%S}Z"


def _verdict(flagged: bool, fault: str) -> str:
    return ", ".join(filter(None, ("flagged" if flagged else "not flagged", fault)))


def _unlike(found: str, answer: Answer) -> EvidenceError:
    return EvidenceError(
        "W5",
        found=found,
        where=f"answer {answer.id} of {answer.device}",
        mend="run `firnline-agent verify` on that device: its slot, or its log, was altered",
    )
