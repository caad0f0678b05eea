"""Which stages are trained again, and what is taken from the last training for the others."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from firnline import wiring
from firnline.adapters.artifact_store import write_atomically
from firnline.contracts.ensemble import Ensemble
from firnline.digest import canonical_json
from firnline.errors import HandshakeError
from flows.steps import Document

if TYPE_CHECKING:
    from models.kept import KeptStage
    from models.recipe import Frame


def remembered(ensemble: str) -> Document | None:
    """The document of the last training that was registered, whole; None before the first."""
    path = _path(ensemble)
    if not path.is_file():
        return None
    last = json.loads(path.read_text(encoding="utf-8"))
    whole = wiring.artifacts().whole(ensemble, "train", last["key"])
    return None if whole is None else {**whole, **last}


def remember(ensemble: str, trained: Document, outputs: Document) -> None:
    """Name the training whose stages may be kept."""
    last = {"key": trained["key"], "path": trained["path"], "outputs": outputs}
    write_atomically(_path(ensemble), canonical_json(last))


def again(manifest: Ensemble, only: Sequence[str] | None, *, chain: bool) -> tuple[str, ...]:
    """The stages to train.

    Args:
        manifest: The ensemble.
        only: Stages that are asked for; all when not given.
        chain: Train what reads them as well, so that the whole fits together.

    Raises:
        HandshakeError: M15, a name is no stage.
    """
    names = [stage.name for stage in manifest.stage]
    if only is None:
        return tuple(names)
    unknown = [name for name in only if name not in names]
    if unknown or not only:
        raise HandshakeError(
            "M15",
            found=f"no stage {', '.join(unknown) or 'is named'} (there are: {', '.join(names)})",
            where=f"what to train of {manifest.name}",
            mend="name stages of its ensemble.toml, or none to train them all",
        )
    chosen = set(only)
    for stage in manifest.stage:
        if chain and any(name.partition(".")[0] in chosen for name in stage.upstream):
            chosen.add(stage.name)
    return tuple(name for name in names if name in chosen)


def kept_stages(
    manifest: Ensemble, training: Sequence[str], last: Document | None, frame: Frame
) -> dict[str, KeptStage]:
    """Every stage that is not trained again, as it was registered.

    Args:
        manifest: The ensemble.
        training: Stages that are trained.
        last: What `remembered` gave.
        frame: The training rows.

    Raises:
        HandshakeError: M16, nothing was trained before; P-codes, its outputs are damaged.
    """
    from models.kept import KeptGraph, KeptStage

    staying = [stage for stage in manifest.stage if stage.name not in training]
    if not staying:
        return {}
    if last is None:
        raise HandshakeError(
            "M16",
            found=f"no earlier training to keep {', '.join(stage.name for stage in staying)} from",
            where=f"training of {manifest.name}",
            mend=f"train the whole chain first: firnline train {manifest.name}",
        )
    kept = {}
    for stage in staying:
        folder = wiring.settings().state / str(last["path"])
        graph = (folder / f"{stage.name}.onnx").read_bytes()
        deciding = manifest.decide.output.partition(".")[0] == stage.name
        fitted = KeptGraph(graph, last["threshold"] if deciding else None)
        widths = {output.name: output.width for output in stage.outputs}
        published, present = _published(
            manifest, stage.name, widths, last["outputs"][stage.name], frame
        )
        kept[stage.name] = KeptStage(fitted, published, present)
    return kept


def _published(
    manifest: Ensemble, stage: str, widths: dict[str, int], version: Document, frame: Frame
) -> tuple[dict[str, Any], Any]:
    """A stage's published outputs for the rows of a frame, checked before they are used."""
    from firnline.adapters.stage_outputs import columns_of, read

    data = wiring.feature_data()
    files = data.files(data.snapshot(version["table"], version["snapshot"]))
    values, present = read(files, manifest.key, columns_of(widths), frame.entities, frame.times)
    blocks, place = {}, 0
    for name, width in widths.items():
        blocks[f"{stage}.{name}"] = values[:, place : place + width]
        place += width
    return blocks, present


def _path(ensemble: str) -> Path:
    return wiring.settings().state / "trained" / f"{ensemble}.json"
