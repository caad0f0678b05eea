"""Looking a feature version up by any of its names, and the stages that read it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from firnline.checks.lock import Defined, defined
from firnline.contracts.breach import refuse
from firnline.contracts.ensemble import Ensemble
from firnline.contracts.features import WindowView
from firnline.contracts.lock import Line, Lock, line_of
from firnline.errors import FirnlineError, HandshakeError
from firnline.workload import locate, names


@dataclass(frozen=True)
class StageReader:
    """A stage that reads a version.

    Attributes:
        ensemble: Whose stage.
        stage: Its name.
        through: The stage whose outputs it reads, where it does not read the version itself.
    """

    ensemble: str
    stage: str
    through: str | None = None


def find(name: str, lock: Lock, project: Path) -> tuple[Line, bool]:
    """A version by its name (the newest), reference, label or Feast's name of it.

    Args:
        name: `device_window`, `device_window@v1`, `device_window@v1#9f2c1a` or
            `device_window_v1`.
        lock: Every published version.
        project: The project folder, whose definitions are looked at when it is not published.

    Returns:
        Its line, or the line it would have; and whether it is published.

    Raises:
        HandshakeError: L7 when there is no such version.
    """
    published = _named(name, lock)
    if published is not None:
        return published, True
    views = (line_of(view) for _, view in defined(names(project), project).versions)
    unpublished = _named(name, Lock(tuple(dict.fromkeys(views))))
    if unpublished is None:
        raise _unknown([name], (line.label for line in lock))
    return unpublished, False


def _named(name: str, lock: Lock) -> Line | None:
    reference, _, start = name.partition("#")
    found = lock.get(reference) or lock.by_table(reference)
    if found is None and not start:
        mine = (line for line in lock if line.order[0] == reference)
        return max(mine, key=lambda line: line.order, default=None)
    return found if found is not None and found.digest.startswith(start) else None


def chosen(
    wanted: Sequence[str], ensembles: Sequence[str], project: Path
) -> tuple[WindowView, ...]:
    """The defined versions that are to be published.

    Args:
        wanted: Names or references; everything that is defined when empty.
        ensembles: Whose views; those of every ensemble when empty.
        project: The project folder.

    Raises:
        HandshakeError: L7 when nothing of that name is defined; or why an ensemble that may
            define it cannot be loaded.
    """
    found = defined(ensembles or names(project), project)
    picked, missing = _picked(wanted, found)
    if missing or not wanted:
        refuse(found.breaches, "publishing")
    if missing:
        raise _unknown(missing, (view.reference for _, view in found.versions))
    return picked


def _picked(wanted: Sequence[str], found: Defined) -> tuple[tuple[WindowView, ...], list[str]]:
    views = [view for _, view in found.versions]
    picked = tuple(
        view for view in views if not wanted or {view.name, view.reference, view.label} & {*wanted}
    )
    known = {name for view in views for name in (view.name, view.reference, view.label)}
    return picked, [name for name in wanted if name not in known]


def stage_readers(line: Line, project: Path) -> tuple[StageReader, ...]:
    """Stages whose manifest reads a version, itself or through stages before them.

    An ensemble whose manifest cannot be read is left out; `firnline lock check` tells why.

    Args:
        line: The version.
        project: The project folder.
    """
    readers: list[StageReader] = []
    for ensemble in names(project):
        try:
            readers += _reading(locate(ensemble, project).manifest, line)
        except FirnlineError:
            continue
    return tuple(readers)


def _reading(manifest: Ensemble, line: Line) -> list[StageReader]:
    made_by = line.record.get("stage") if line.record.get("ensemble") == manifest.name else None
    readers: dict[str, StageReader] = {}
    for stage in manifest.stage:
        upstream = [name.partition(".")[0] for name in stage.upstream]
        through = next((name for name in upstream if name in readers), None)
        if line.reference in stage.features or made_by in upstream:
            readers[stage.name] = StageReader(manifest.name, stage.name)
        elif through is not None:
            readers[stage.name] = StageReader(manifest.name, stage.name, through)
    return list(readers.values())


def _unknown(wanted: Iterable[str], known: Iterable[str]) -> HandshakeError:
    return HandshakeError(
        "L7",
        found=f"no feature version {', '.join(map(repr, wanted))}",
        where="features.lock and the feature modules",
        mend=f"name one of {', '.join(dict.fromkeys(known)) or 'those an ensemble defines'}",
    )
