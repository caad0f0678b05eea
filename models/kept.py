"""A stage that stays as it was trained: its graph computes, and its old outputs are read again."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.float_onnx import run
from models.recipe import FloatMatrix, Frame


@dataclass(frozen=True)
class KeptGraph:
    """A trained stage without its recipe: what its ONNX says.

    Attributes:
        graph: The stage's own graph.
        threshold: Its decision threshold, where it is the deciding stage.
    """

    graph: bytes
    threshold: float | None = None

    def predict(self, frame: Frame) -> Mapping[str, FloatMatrix]:
        """Output -> [rows, width], as `models.recipe.Fitted.predict`."""
        return run(self.graph, {"features": frame.features, **frame.upstream})

    def to_onnx(self) -> bytes:
        """The graph it was trained to, to the byte."""
        return self.graph


@dataclass(frozen=True)
class KeptStage:
    """A stage that is not trained again.

    Attributes:
        fitted: What it computes.
        published: `stage.output` -> the outputs that were published for later stages to learn
            from, [rows, width] for the rows of the training frame; NaN in a row that has none,
            because the stage was fitted on it and no fold predicted it.
        present: Rows that were published at all, [rows]; the stage has never seen the others.
    """

    fitted: KeptGraph
    published: Mapping[str, FloatMatrix]
    present: NDArray[np.bool_]

    def outputs(self, name: str, view: Frame) -> dict[str, FloatMatrix]:
        """What later stages learn from: as published, and computed for rows that are new.

        Args:
            name: The stage's name.
            view: The training frame as the stage sees it.
        """
        made = {full: block.copy() for full, block in self.published.items()}
        new = ~self.present
        if new.any():
            for output, block in self.fitted.predict(view.rows(new)).items():
                made[f"{name}.{output}"][new] = block
        return made
