"""Targets: how a program becomes what a chip runs, and how that is run here; a module a kind."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from edge.export.model import Model
from firnline.contracts.target import Profile

Values = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Artifact:
    """What an edge team pulls for one target, and what is known of it.

    Attributes:
        files: Path within the target's folder -> bytes.
        toolchain: Tool -> version, of all that made it.
        figures: `flash_bytes`, `ram_bytes`, `code_bytes`, `weight_bytes`, `cycles` and the like;
            None where unknown.
        layers: A row a layer, for the report.
        notes: What a person should know of this model on this chip.
        built: What `run` takes, such as a binary's image.
        identity: sha256 of its constants as a device finds them in its flash; None where a target
            has no way to tell.
    """

    files: Mapping[str, bytes]
    toolchain: Mapping[str, str]
    figures: Mapping[str, int | float | None]
    layers: tuple[Mapping[str, Any], ...] = ()
    notes: tuple[str, ...] = ()
    built: Any = None
    identity: str | None = None


@dataclass(frozen=True)
class Ran:
    """What came out when the artifact ran on the model's vectors.

    Attributes:
        runner: What ran it, with its version; empty when nothing here can.
        values: Value of the program -> [rows, *shape], held to the reference byte by byte.
        scores: float32 [rows], of the decision rule; None without one. Where only the first
            windows were run, theirs.
        figures: `instructions` and the like, counted while it ran: the same every time.
        notes: What a person should know.
        layers: Operation -> instructions of one inference, where they were counted.
        timings: Nanoseconds an inference, which differ from run to run, and what they say; they
            are told, and kept out of every digest.
    """

    runner: str
    values: Values
    scores: NDArray[np.float32] | None = None
    figures: Mapping[str, int | float | None] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    layers: Mapping[str, int] = field(default_factory=dict)
    timings: Mapping[str, int | str] = field(default_factory=dict)


class Compiler(Protocol):
    """A kind of target."""

    EXACT: bool
    """Whether every byte must be the reference's; if not, decisions are held to the limits."""

    def ready(self, profile: Profile) -> None:
        """See that every tool is here, before hours go into a model."""
        ...

    def compile(self, model: Model, profile: Profile, folder: Path) -> Artifact:
        """Build a model for a chip, with `folder` (empty) to work in."""
        ...

    def run(self, artifact: Artifact, model: Model, profile: Profile) -> Ran:
        """Run it on the model's vectors."""
        ...


def compiler(kind: str) -> Compiler:
    """The module that builds and runs a kind of target."""
    return cast(Compiler, importlib.import_module(f"edge.compile.{kind}"))
