"""What a stage does beside another training of the stage it learned from: two versions, crossed.

A stage is trained twice, once on part of the training rows (version 1: what was released before)
and once on all of them (version 2: what a retraining made). The stages that read it are trained
on the outputs of each, on the same rows, with the same labels and seed. So of the four pairs
nothing differs but which version says what, and which version was listened to.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from firnline.contracts.ensemble import Ensemble
from firnline.errors import HandshakeError
from models.fit import FittedEnsemble, fit_ensemble
from models.kept import KeptGraph, KeptStage
from models.recipe import FloatMatrix, Frame
from models.split import Mask, Parts, by_hash, places


@dataclass(frozen=True)
class Retraining:
    """Why a stage is trained again, and what its earlier version was trained on.

    Attributes:
        name: Short name.
        grows: What there is more of at the second training: time, or entities.
        parts: The training rows are cut into so many parts, by time or by entity.
        part: The one that version 1 saw, from 0.
    """

    name: str
    grows: Literal["time", "entities"]
    parts: int
    part: int = 0

    def earlier(self, frame: Frame, train: Mask) -> Mask:
        """The training rows that version 1 saw, shape [rows]."""
        inside = np.flatnonzero(train)
        rows = frame.rows(inside)
        names, entity, counts = np.unique(rows.entities, return_inverse=True, return_counts=True)
        if self.grows == "time":
            of_row = places(rows) * self.parts // counts[entity]
        else:
            order = by_hash(names.tolist(), salt="trace/")
            number = {name: place % self.parts for place, name in enumerate(order)}
            of_row = np.array([number[name] for name in names.tolist()])[entity]
        mask = np.zeros(len(frame), bool)
        mask[inside] = of_row == self.part
        return mask


WEEK = Retraining("week", "time", parts=2)
FLEET = tuple(Retraining("fleet", "entities", parts=4, part=part) for part in range(4))
"""Every quarter of the entities in turn, so that no lucky or unlucky one stands for all."""


@dataclass(frozen=True)
class Versions:
    """Both versions of a stage, each beside stages that learned from it.

    Attributes:
        stage: The stage that was trained twice.
        retraining: Why.
        earlier: The training rows of version 1, shape [rows].
        matched: Version 1 and version 2, with the stages that learned from it.
    """

    stage: str
    retraining: Retraining
    earlier: Mask
    matched: tuple[FittedEnsemble, FittedEnsemble]

    def pair(self, upstream: int, downstream: int) -> FittedEnsemble:
        """One version beside stages that learned from one; the numbers are 1 and 2."""
        given, others = self.matched[upstream - 1], self.matched[downstream - 1]
        stages = zip(given.stages, others.stages, strict=True)
        return replace(
            others,
            stages=tuple(new if new.stage.name == self.stage else old for new, old in stages),
        )


def traced_stage(manifest: Ensemble) -> str:
    """The first stage that the deciding stage reads, itself or through others.

    Raises:
        HandshakeError: T1, it reads none.
    """
    deciding = manifest.decide.output.partition(".")[0]
    read = {deciding}
    for stage in reversed(manifest.stage):
        if stage.name in read:
            read |= {name.partition(".")[0] for name in stage.upstream}
    for stage in manifest.stage:
        if stage.name in read and stage.name != deciding:
            return stage.name
    raise HandshakeError(
        "T1",
        found=f"the deciding stage {deciding!r} reads no other stage "
        f"(stages: {', '.join(stage.name for stage in manifest.stage)})",
        where=f"trace of {manifest.name}",
        mend="trace an ensemble in which the deciding stage has an `upstream`; with none, no "
        "pair can be mixed",
    )


def downstream(manifest: Ensemble, name: str) -> list[str]:
    """Stages that read a stage, themselves or through others, in manifest order."""
    reading: list[str] = []
    for stage in manifest.stage:
        if {read.partition(".")[0] for read in stage.upstream} & {name, *reading}:
            reading.append(stage.name)
    return reading


def retrainings(manifest: Ensemble, frame: Frame, parts: Parts) -> tuple[Retraining, ...]:
    """The retrainings that make sense of an ensemble.

    Folds by time are for stages that hold values of each entity; such a stage says nothing of
    entities it was not fitted on, so only its time can grow. A part of the entities must hold
    one for every fold.
    """
    how, entities = manifest.split, len(np.unique(frame.entities[parts.train]))
    enough = entities >= len(FLEET) * how.folds
    return (WEEK, *FLEET) if how.fold_by == "entity" and enough else (WEEK,)


def crossed(
    manifest: Ensemble,
    frame: Frame,
    parts: Parts,
    after: FittedEnsemble,
    progress: Callable[[int, int], None],
) -> Iterator[Versions]:
    """Both versions for every retraining that makes sense, one after another.

    Args:
        manifest: What to train.
        frame: All rows, with the columns of `manifest.references()`.
        parts: Which of them train.
        after: The ensemble as trained on all of `parts.train`.
        progress: Told how many retrainings are done, of how many.

    Raises:
        HandshakeError: T2, no retraining changes the stage; T1, T3 and M-codes, as
            `two_versions`.
    """
    chosen, differ = retrainings(manifest, frame, parts), False
    for number, how in enumerate(chosen):
        progress(number, len(chosen))
        found = two_versions(manifest, frame, parts, after, how)
        if found is not None:
            differ = True
            yield found
    if not differ:
        raise HandshakeError(
            "T2",
            found=f"every training of {traced_stage(manifest)!r} gave the same model, to the byte",
            where=f"trace of {manifest.name}",
            mend="there is nothing to mix: the stage does not depend on its training rows",
        )


def two_versions(
    manifest: Ensemble, frame: Frame, parts: Parts, after: FittedEnsemble, how: Retraining
) -> Versions | None:
    """Train the earlier version, and what reads it.

    What reads either version learns from out-of-fold outputs, on the rows for which both have
    one. Folds speak for the rows that version 1 was fitted on; the others it has never seen.

    Args:
        manifest: What to train.
        frame: All rows, with the columns of `manifest.references()`.
        parts: Which of them train.
        after: The ensemble as trained on all of `parts.train`.
        how: What the earlier version saw.

    Returns:
        Both versions, or None where they are the same model to the byte.

    Raises:
        HandshakeError: T3, no row is left to train on; M-codes, as `fit_ensemble`.
    """
    name = traced_stage(manifest)
    earlier = how.earlier(frame, parts.train)
    _rows_left(earlier, how, "to train version 1 on")
    # Only the version is wanted of this training, so what reads it stays as it was.
    rest = {reader: _kept(after, reader) for reader in downstream(manifest, name)}
    before = fit_ensemble(manifest, frame, replace(parts, train=earlier), rest)
    first, second = _kept(before, name, earlier), _kept(after, name)
    if first.fitted.graph == second.fitted.graph:
        return None
    # A row that version 1 was not fitted on needs no fold: whatever it says of it is out of fold.
    told = _finite(first.published) | ~earlier
    shared = parts.train & told & _finite(second.published)
    _rows_left(shared, how, "for which both versions have an out-of-fold output")
    on = replace(parts, train=shared)
    same_rows = np.array_equal(shared, parts.train)
    matched = (
        fit_ensemble(manifest, frame, on, {name: first}),
        after if same_rows else fit_ensemble(manifest, frame, on, {name: second}),
    )
    return Versions(name, how, earlier, matched)


def _kept(fitted: FittedEnsemble, name: str, seen: Mask | None = None) -> KeptStage:
    """A stage of a training, as it stands when only others are trained.

    Rows that were not `seen` need no fold: the stage speaks for them itself.
    """
    part = next(part for part in fitted.stages if part.stage.name == name)
    graph = KeptGraph(part.fitted.to_onnx(), fitted.rule.threshold)
    names = (f"{name}.{output.name}" for output in part.stage.outputs)
    outputs = {full: fitted.out_of_fold[full] for full in names if full in fitted.out_of_fold}
    rows = len(next(iter(fitted.out_of_fold.values())))
    return KeptStage(graph, outputs, np.ones(rows, bool) if seen is None else seen)


def _finite(outputs: Mapping[str, FloatMatrix]) -> Mask:
    """Rows in which every output is there, shape [rows]."""
    masks = [~np.isnan(block).any(axis=1) for block in outputs.values()]
    return np.asarray(np.logical_and.reduce(masks), dtype=np.bool_)


def _rows_left(rows: Mask, how: Retraining, what: str) -> None:
    if not rows.any():
        raise HandshakeError(
            "T3",
            found=f"no row {what}, of {len(rows)} rows",
            where=f"trace, retraining {how.name!r}",
            mend="give more entities or a longer time",
        )
