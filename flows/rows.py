"""The training set as rows, and what each row is for: the same in every step that reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from firnline.contracts.ensemble import Ensemble
from flows.steps import Document, folder_of

if TYPE_CHECKING:
    from models.recipe import Frame
    from models.split import Parts


def divided(manifest: Ensemble, computed: Document) -> tuple[Frame, Parts]:
    """Read a training set and divide it as the manifest says.

    Args:
        manifest: Whose training set.
        computed: The document of the features step.

    Raises:
        HandshakeError: M12 a part would be empty, M13 a view's columns are missing.
    """
    from models.fit import load_frame
    from models.split import split

    training_set = folder_of(computed) / "training_set.parquet"
    frame = load_frame(training_set, manifest.key, manifest.references())
    return frame, split(frame, manifest.split)
