"""The feature lock against everything it speaks of: git, the views that are defined, the stages."""

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from firnline.adapters.lock_base import committed
from firnline.adapters.lock_file import examine_lock, lock_files, place, project_lock_path
from firnline.contracts.breach import Breach
from firnline.contracts.features import WindowView
from firnline.contracts.lock import Lock, appended, changed, disagreements, line_of, union
from firnline.errors import FirnlineError
from firnline.workload import Workload, locate, names, views


@dataclass(frozen=True)
class Defined:
    """What the ensembles of a project define.

    Attributes:
        versions: Ensemble and view, for every view of every feature module.
        stages: Ensemble, stage and reference, for every feature version a stage reads.
        breaches: Why an ensemble could not be loaded.
    """

    versions: tuple[tuple[str, WindowView], ...]
    stages: tuple[tuple[str, str, str], ...]
    breaches: tuple[Breach, ...]


@dataclass(frozen=True)
class Inspection:
    """What a check of the lock found.

    Attributes:
        lock: Every published version that can be read.
        compared: The commit that published lines were compared with; None outside of git.
        breaches: All that does not hold, by file, then git, then the definitions.
    """

    lock: Lock
    compared: str | None
    breaches: tuple[Breach, ...]


def defined(ensembles: Iterable[str], project: Path) -> Defined:
    """Load ensembles and the feature modules they name.

    Args:
        ensembles: Names or folders.
        project: The project folder.
    """
    versions: list[tuple[str, WindowView]] = []
    stages: list[tuple[str, str, str]] = []
    breaches: list[Breach] = []
    for ensemble in ensembles:
        try:
            workload = locate(ensemble, project)
            views(workload)
        except FirnlineError as error:
            breaches.append(_breach(error))
            continue
        found, wrong = _identified(workload)
        versions += ((workload.name, view) for view in found)
        breaches += wrong
        stages += [
            (workload.name, stage.name, reference)
            for stage in workload.manifest.stage
            for reference in stage.features
        ]
    return Defined(tuple(versions), tuple(stages), tuple(breaches))


def _identified(workload: Workload) -> tuple[list[WindowView], list[Breach]]:
    """The views of an ensemble's module that have an identity, and why the others have none."""
    found, wrong = [], []
    # Those that no stage reads as well: publishing comes before reading.
    for view in sys.modules[workload.manifest.features.module].VIEWS:
        try:
            view.digest()
            found.append(view)
        except FirnlineError as error:
            wrong.append(_breach(error))
    return found, wrong


def _breach(error: FirnlineError) -> Breach:
    return Breach(error.code, error.found, error.where, error.mend)


def inspect(project: Path, outputs: Path, base: str | None = None) -> Inspection:
    """Check a project's lock; every breach at once.

    Args:
        project: The project folder.
        outputs: The lock of what trained stages give, which git does not hold.
        base: The commit that published lines are compared with; the last one when not given.

    Raises:
        HandshakeError: L8 when there is no such commit.
    """
    locks: dict[str, Lock] = {}
    breaches: list[Breach] = []
    for path in (*lock_files(project), outputs):
        where = place(path, project)
        locks[where], wrong = examine_lock(path, where)
        breaches += wrong
    own = place(project_lock_path(project), project)
    before = committed(project, base)
    if before is not None:
        breaches += appended(before[0], locks[own], own, fork=before[1])
    breaches += disagreements(locks)
    features = union(lock for where, lock in locks.items() if where != place(outputs, project))
    found = defined(names(project), project)
    breaches += [*_definitions(features, found), *_gone(locks[own], found)]
    compared = None if before is None else base or "HEAD"
    return Inspection(union(locks.values()), compared, tuple(dict.fromkeys(breaches)))


def _definitions(lock: Lock, found: Defined) -> Iterator[Breach]:
    """H1 for every version that is defined otherwise than published, or read unpublished."""
    yield from found.breaches
    for ensemble, view in found.versions:
        published = lock.get(view.reference)
        if published is not None and published.digest != view.digest():
            yield changed(published, line_of(view), lock, f"ensemble {ensemble}", "H1")
    for ensemble, stage, reference in found.stages:
        if lock.get(reference) is None:
            yield Breach(
                "H1",
                f"{reference} is not in features.lock",
                f"ensemble {ensemble}, stage {stage}",
                f"publish it: firnline lock add {reference}",
            )


def _gone(own: Lock, found: Defined) -> Iterator[Breach]:
    """L6 for every published version that the project does not define any more."""
    known = {view.reference for _, view in found.versions}
    # An ensemble that cannot be loaded may be the one that defines them.
    for line in () if found.breaches else own:
        if line.reference not in known:
            yield Breach(
                "L6",
                f"{line.label} is published, and no feature module defines it any more",
                "the VIEWS of the project's ensembles",
                "define it again as it was; a published version stays, whoever still reads it",
            )
