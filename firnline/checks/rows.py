"""The rows stages are tried on: generated ones, the same without gaps, and one of gaps alone."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from firnline.checks.tools import FloatMatrix
from firnline.contracts.ensemble import Stage


@dataclass(frozen=True)
class Rows:
    """Frames of the same columns.

    Attributes:
        fit: What recipes are fitted on; values are missing.
        filled: The same rows with every gap closed.
        probe: The rows of `fit`, and one in which everything is missing.
    """

    fit: Any
    filled: Any
    probe: Any

    def of_stage(self, stage: Stage, produced: Mapping[str, "Produced"]) -> "Rows":
        """As the stage sees them: the columns of its own views, and its upstream outputs."""
        prefixes = tuple(f"{reference.partition('@')[0]}__" for reference in stage.features)
        names = self.fit.names
        order = [
            place
            for prefix in prefixes
            for place, name in enumerate(names)
            if name.startswith(prefix)
        ]
        chosen = tuple(names[place] for place in order)
        frames = {}
        for kind in ("fit", "filled", "probe"):
            upstream = {name: getattr(produced[name], kind) for name in stage.upstream}
            frame = getattr(self, kind)
            frames[kind] = replace(
                frame, features=frame.features[:, order], names=chosen, upstream=upstream
            )
        return Rows(**frames)


@dataclass(frozen=True)
class Produced:
    """One output for each of the frames of `Rows`, [rows, width]."""

    fit: FloatMatrix
    filled: FloatMatrix
    probe: FloatMatrix


def stand_ins(stage: Stage, rows: Rows) -> dict[str, Produced]:
    """Values within the declared ranges, so that later stages can be tried all the same."""
    random = np.random.default_rng(0)
    made = {}
    for output in stage.outputs:
        low, high = output.range or (0.0, 1.0)
        blocks = {
            kind: random.uniform(low, high, (len(getattr(rows, kind)), output.width))
            for kind in ("fit", "filled", "probe")
        }
        made[f"{stage.name}.{output.name}"] = Produced(
            **{kind: block.astype(np.float32) for kind, block in blocks.items()}
        )
    return made


def name_of(stage: Stage, what: str) -> str:
    """Name of a stage's finding."""
    return f"stage {stage.name}: {what}"
