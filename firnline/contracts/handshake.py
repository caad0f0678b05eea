"""The handshake: do the stages of an ensemble, and the features they read, belong together?

One check over a whole ensemble, which tells every breach at once. The same function runs when
views are defined, in continuous integration, before training, before registering and bundling,
when a server loads and when a device loads; a place that does not know a fact yet leaves it out.

| rule | holds when |
|---|---|
| H1 | every feature reference is in the lock with exactly that digest |
| H2 | one feature name has one version across the stages |
| H3 | stages share the entity and the clock: timestamp column and window |
| H4 | a stage's upstream columns equal the producer's outputs: name, dtype, range, order |
| H5 | a stage learned from outputs of exactly the stage it stands beside, out of fold |
| H6 | every stage of the ensemble is there |
| H7 | the graph takes features and nothing else: preprocessing is inside |
| H8 | what a device holds is one whole ensemble, never a part of another |
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from firnline.contracts.breach import Breach
from firnline.contracts.features import parse_reference
from firnline.digest import short

FEATURES_INPUT = "features"


@dataclass(frozen=True)
class Clock:
    """What a stage's rows are, taken from the first view it reads.

    Attributes:
        entity: What a row is about.
        key: The entity's column.
        timestamp_column: The column that says when a row holds.
        window_seconds: Length of a window.
        every_seconds: Time from one window's end to the next.
    """

    entity: str
    key: str
    timestamp_column: str
    window_seconds: int
    every_seconds: int

    def __str__(self) -> str:
        """As a breach tells it."""
        return (
            f"{self.entity} by {self.key}, {self.window_seconds} s every "
            f"{self.every_seconds} s of {self.timestamp_column}"
        )


@dataclass(frozen=True)
class Columns:
    """A block of columns that one stage gives and another reads.

    Attributes:
        dtype: Type of its values.
        width: How many columns.
        range: Closed interval the values stay in, where there is one.
    """

    dtype: str
    width: int
    range: tuple[float, float] | None = None

    def __str__(self) -> str:
        """As a breach tells it."""
        within = "" if self.range is None else f" in [{self.range[0]:g}, {self.range[1]:g}]"
        return f"{self.dtype}[{self.width}]{within}"


@dataclass(frozen=True)
class StageFacts:
    """What is known of a stage.

    Attributes:
        name: Its name in the ensemble.
        features: Reference -> digest of every feature version it reads, in order.
        clock: Of the first view it reads; None where views are not at hand.
        upstream: `stage.output` -> the columns as this stage takes them, in order.
        outputs: Output -> its columns, in order.
        digest: What the trained stage is; None before training.
        learned_from: Upstream stage -> digest of the stage whose outputs it was trained on.
        out_of_fold: Whether these outputs came from fits that had not seen the row.
    """

    name: str
    features: Mapping[str, str]
    clock: Clock | None = None
    upstream: Mapping[str, Columns] = field(default_factory=dict)
    outputs: Mapping[str, Columns] = field(default_factory=dict)
    digest: str | None = None
    learned_from: Mapping[str, str] = field(default_factory=dict)
    out_of_fold: bool = True


@dataclass(frozen=True)
class Facts:
    """What is known of an ensemble at one place.

    Attributes:
        ensemble: Its name.
        declared: Names of the stages its manifest declares, in order.
        stages: The stages at hand, in order.
        lock: Published reference -> digest.
        inputs: Inputs of the graph that runs; None where there is none yet.
        held: Stage -> digest of what lies on the device; None anywhere else.
    """

    ensemble: str
    declared: tuple[str, ...]
    stages: tuple[StageFacts, ...]
    lock: Mapping[str, str]
    inputs: tuple[str, ...] | None = None
    held: Mapping[str, str] | None = None


def check(facts: Facts) -> tuple[Breach, ...]:
    """Every breach of H1 to H8, by rule and then by stage.

    Args:
        facts: What is known; a rule whose facts are left out holds.
    """
    return (
        *_published(facts),
        *_one_version(facts),
        *_one_clock(facts),
        *_columns(facts),
        *_learned(facts),
        *_whole(facts),
        *_inside(facts),
        *_held(facts),
    )


def _published(facts: Facts) -> Iterator[Breach]:
    for stage in facts.stages:
        for reference, found in stage.features.items():
            published = facts.lock.get(reference)
            if published is None:
                yield Breach(
                    "H1",
                    f"{reference}#{short(found)} is not in features.lock",
                    f"stage {stage.name}",
                    f"publish it: firnline lock add {reference}",
                )
            elif published != found:
                yield Breach(
                    "H1",
                    f"{reference} is published as #{short(published)}, here it is #{short(found)}",
                    f"stage {stage.name}",
                    f"a published version never changes: undo the change, or make it "
                    f"{_next(facts, reference)}",
                )


def _next(facts: Facts, reference: str) -> str:
    name, newest = parse_reference(reference)
    for known in facts.lock:
        other, version = parse_reference(known)
        newest = max(newest, version) if other == name else newest
    return f"{name}@v{newest + 1}"


def _one_version(facts: Facts) -> Iterator[Breach]:
    versions: dict[str, dict[str, list[str]]] = {}
    for stage in facts.stages:
        for reference in stage.features:
            name, _ = parse_reference(reference)
            versions.setdefault(name, {}).setdefault(reference, []).append(stage.name)
    for name, found in versions.items():
        if len(found) > 1:
            told = ", ".join(f"{ref} by {' and '.join(by)}" for ref, by in sorted(found.items()))
            yield Breach(
                "H2",
                f"{name} is read in {len(found)} versions: {told}",
                f"ensemble {facts.ensemble}",
                "let every stage read the same version",
            )


def _one_clock(facts: Facts) -> Iterator[Breach]:
    clocks: dict[Clock, list[str]] = {}
    for stage in facts.stages:
        if stage.clock is not None:
            clocks.setdefault(stage.clock, []).append(stage.name)
    if len(clocks) > 1:
        yield Breach(
            "H3",
            "; ".join(f"{' and '.join(names)}: {clock}" for clock, names in clocks.items()),
            f"ensemble {facts.ensemble}",
            "list the view with the shared window first in every stage's features",
        )


def _columns(facts: Facts) -> Iterator[Breach]:
    produced: dict[str, Columns] = {}
    for stage in facts.stages:
        for name, wanted in stage.upstream.items():
            given = produced.get(name)
            if given is None:
                if name.partition(".")[0] not in _missing(facts):
                    yield _unlike(stage, f"reads {name}, which no earlier stage gives")
            elif given != wanted:
                yield _unlike(stage, f"takes {name} as {wanted}, but it is given as {given}")
        yield from _order(stage, produced)
        produced |= {f"{stage.name}.{name}": made for name, made in stage.outputs.items()}


def _order(stage: StageFacts, produced: Mapping[str, Columns]) -> Iterator[Breach]:
    """Outputs of one producer are taken in the order it gives them."""
    taken = [name for name in stage.upstream if name in produced]
    given = [name for name in produced if name in stage.upstream]
    for producer in dict.fromkeys(name.partition(".")[0] for name in taken):
        mine, theirs = (
            [name for name in names if name.startswith(f"{producer}.")] for names in (taken, given)
        )
        if mine != theirs:
            yield _unlike(stage, f"takes {', '.join(mine)}, but the order is {', '.join(theirs)}")


def _unlike(stage: StageFacts, found: str) -> Breach:
    return Breach(
        "H4",
        found,
        f"stage {stage.name}",
        "make upstream and outputs agree in ensemble.toml, then train the stage again",
    )


def _learned(facts: Facts) -> Iterator[Breach]:
    digests = {stage.name: stage.digest for stage in facts.stages if stage.digest is not None}
    for stage in facts.stages:
        if stage.digest is None:
            continue
        for producer in dict.fromkeys(name.partition(".")[0] for name in stage.upstream):
            learned, beside = stage.learned_from.get(producer), digests.get(producer)
            if beside is None or learned == beside:
                continue
            told = "nothing that is recorded" if learned is None else f"{producer}#{short(learned)}"
            yield Breach(
                "H5",
                f"it learned from {told} and would be fed by {producer}#{short(beside)}",
                f"stage {stage.name}",
                f"train {stage.name} on the outputs of {producer}#{short(beside)}, or keep the "
                f"{producer} it learned from",
            )
        if stage.upstream and not stage.out_of_fold:
            yield Breach(
                "H5",
                "it learned from outputs that were fitted on the same rows",
                f"stage {stage.name}",
                "train it on out-of-fold outputs, as models.fit does",
            )


def _missing(facts: Facts) -> list[str]:
    present = {stage.name for stage in facts.stages}
    return [name for name in facts.declared if name not in present]


def _whole(facts: Facts) -> Iterator[Breach]:
    unknown = [stage.name for stage in facts.stages if stage.name not in facts.declared]
    for problem, names in (("lacks", _missing(facts)), ("has beside its stages", unknown)):
        if names:
            yield Breach(
                "H6",
                f"it {problem} {', '.join(names)}",
                f"ensemble {facts.ensemble}",
                f"put exactly these together: {', '.join(facts.declared)}",
            )


def _inside(facts: Facts) -> Iterator[Breach]:
    if facts.inputs is not None and facts.inputs != (FEATURES_INPUT,):
        yield Breach(
            "H7",
            f"the graph takes {', '.join(facts.inputs) or 'nothing'}, not {FEATURES_INPUT} alone",
            f"ensemble {facts.ensemble}",
            "compute scaling, order and imputation in the graph; a device hands over features",
        )


def _held(facts: Facts) -> Iterator[Breach]:
    if facts.held is None:
        return
    wanted = {stage.name: stage.digest or "" for stage in facts.stages}
    for name in dict.fromkeys([*wanted, *facts.held]):
        mine, theirs = facts.held.get(name), wanted.get(name)
        if mine != theirs:
            told = "nothing" if mine is None else f"#{short(mine)}"
            belongs = "no such stage" if theirs is None else f"#{short(theirs)}"
            yield Breach(
                "H8",
                f"the device holds {told} and the ensemble has {belongs}",
                f"stage {name}",
                "install the whole bundle; the slot that ran before stays as it was",
            )
