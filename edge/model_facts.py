"""What a bundle's papers tell of its model: the same facts for the BOM and for the model card."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from edge.pack import Contents
from firnline.contracts.handshake import Clock
from firnline.contracts.spdx import UNSTATED

WEAK_AUC = 0.8
"""An AUC below it is told as a limit: one in five pairs of windows is ranked wrongly."""
_MEASURES = {
    "auc": "AUC",
    "f1": "F1",
    "far": "false alarm rate",
    "mar": "missed alarm rate",
}
_PERCENT = ("far", "mar")
_DAY_SECONDS = 86_400
PARTS = {"test": "held-out windows", "later": "later windows"}


@dataclass(frozen=True)
class Measure:
    """One figure.

    Attributes:
        kind: `auc`, `f1`, `far` or `mar`.
        part: Part of the windows: `test` or `later`.
        value: In percent for the rates.
        label: The fault class it is of, against normal; empty for all.
    """

    kind: str
    part: str
    value: float
    label: str = ""

    @property
    def title(self) -> str:
        """As a table names it."""
        return _MEASURES[self.kind]

    @property
    def shown(self) -> str:
        """With its unit."""
        return f"{self.value:.2f} %" if self.kind in _PERCENT else f"{self.value:.4f}"


def measures(metrics: Mapping[str, float]) -> tuple[Measure, ...]:
    """The figures of a run's metrics, over all classes first; other metrics are left out.

    Args:
        metrics: Such as `test.auc` and `test.auc.slow_leak`.
    """
    found = []
    for name, value in sorted(metrics.items()):
        part, _, rest = name.partition(".")
        kind, _, label = rest.partition(".")
        if part in PARTS and kind in _MEASURES:
            found.append(Measure(kind, part, value, label))
    order = {part: place for place, part in enumerate(PARTS)}
    return tuple(sorted(found, key=lambda one: (bool(one.label), order[one.part])))


def limits(contents: Contents, metrics: Mapping[str, float]) -> tuple[str, ...]:
    """What the model is not good for, in sentences that the figures give."""
    told = [*_of_classes(contents, metrics), *_of_alarms(contents, metrics)]
    if contents.calibration.get("note"):
        told.append(f"The ranges of int8: {contents.calibration['note']}.")
    for record in contents.targets:
        proof = record["proof"]
        if proof["verdict"] != "accept":
            why = "; ".join((*proof["reasons"], *record.get("notes", ()))) or "nothing ran it"
            told.append(f"On {record['target']} it is not proved: {why}.")
    told.append(
        "It was fitted on one fleet's readings, those of the snapshot below; other equipment, "
        "sensors or climates are untested."
    )
    return tuple(told)


def licence(contents: Contents) -> str | None:
    """SPDX expression of the model; None where nobody has stated one."""
    own = contents.licences.get("*", UNSTATED)
    return None if own == UNSTATED else own


def entity(contents: Contents) -> str:
    """What a prediction is about, such as `device`."""
    clock = _clock(contents)
    return clock.entity if clock else "entity"


def window(contents: Contents) -> str:
    """What one prediction is of, such as `window of 900 s, every 900 s,`."""
    clock = _clock(contents)
    if clock is None:
        return "window"
    return f"window of {clock.window_seconds:,} s, every {clock.every_seconds:,} s,"


def _clock(contents: Contents) -> Clock | None:
    return next((stage.clock for stage in contents.facts.stages if stage.clock), None)


def _of_classes(contents: Contents, metrics: Mapping[str, float]) -> Iterator[str]:
    """Faults that it tells badly, or that nobody has tried it on."""
    areas = {(one.part, one.label): one for one in measures(metrics) if one.kind == "auc"}
    unseen = []
    for label in contents.decide.get("classes", ())[1:]:
        held_out, later = areas.get(("test", label)), areas.get(("later", label))
        if held_out is not None and held_out.value < WEAK_AUC:
            yield f"It hardly tells {label} from normal: AUC {held_out.shown} on held-out windows."
        elif held_out is None and later is not None:
            yield (
                f"How it does with {label} on units it was not trained on is unknown: no held-out "
                f"window has it (AUC {later.shown} on {PARTS['later']})."
            )
        elif held_out is None:
            unseen.append(label)
    if unseen:
        yield f"How it does with {', '.join(unseen)} is unknown: no window it was tried on has one."


def _of_alarms(contents: Contents, metrics: Mapping[str, float]) -> Iterator[str]:
    missed, false = metrics.get("test.mar"), metrics.get("test.far")
    if missed is None or false is None:
        return
    told = (
        f"At its threshold it misses {missed:.2f} % of the held-out windows with a fault "
        f"and flags {false:.2f} % of those without"
    )
    clock = _clock(contents)
    if clock is not None:
        daily = false / 100 * _DAY_SECONDS / clock.every_seconds
        told += f": {daily:.2g} false alarms a day and {clock.entity}"
    yield f"{told}."
