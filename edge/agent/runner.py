"""Scoring: the graphs of one slot, run one after the other as its manifest says."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.chain import Link, of_document
from edge.session import integer_session
from edge.verify import read_manifest
from firnline.digest import bytes_digest
from firnline.errors import DeliveryError

BATCH_ROWS = 16
"""Rows of every run, as many as there are golden windows: what the self-test proves is what runs.

Sums of floats may differ in the last digit by batch size, so there is one size; fewer rows are
filled up with zeros.
"""


@dataclass(frozen=True)
class Answers:
    """What an ensemble says of rows.

    Attributes:
        score: float32 [rows], higher is worse.
        flagged: bool [rows], the score lies above the threshold.
        fault: Name of the most probable class of each row; empty where the ensemble has none.
    """

    score: NDArray[np.float32]
    flagged: NDArray[np.bool_]
    fault: tuple[str, ...]


@dataclass(frozen=True)
class _Step:
    session: Any
    inputs: Sequence[str]
    outputs: Sequence[str]


class Runner:
    """The graphs of a slot, opened; it may be used from several threads.

    Args:
        slot: Folder of a device bundle.

    Raises:
        DeliveryError: D1 to D7, the manifest cannot be trusted; D3, a graph is not the one that
            it names; U22, a graph cannot be run here.
    """

    def __init__(self, slot: Path) -> None:
        manifest = read_manifest(slot)
        try:
            self.release = str(manifest["release"])
            self.input = str(manifest["input"]["name"])
            self.columns = tuple(str(column) for column in manifest["input"]["columns"])
            self.classes = tuple(str(name) for name in manifest["decide"].get("classes") or ())
            self._steps = [
                _step(slot, manifest, link) for link in of_document(manifest.get("run", []))
            ]
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            told = f"{type(error).__name__}: {str(error)[:100]}"
            raise unfit(f"a manifest that does not say how to run: {told}", str(slot)) from error
        if not self._steps:
            raise unfit(f"a bundle for {manifest.get('target')}, with nothing to run", str(slot))

    def score(self, rows: NDArray[np.float32]) -> Answers:
        """Score rows.

        Args:
            rows: float32 [n, columns], in the manifest's order; NaN where a value is missing.

        Raises:
            DeliveryError: U31, the rows are not of that shape; U33, a score is no number.
        """
        if rows.ndim != 2 or rows.shape[1] != len(self.columns):
            raise DeliveryError(
                "U31",
                found=f"rows of shape {rows.shape}",
                where=f"rows for release {self.release[:12]}",
                mend=f"give {len(self.columns)} numbers a row, in the order of `columns`",
            )
        blocks = [
            self._batch(rows[place : place + BATCH_ROWS])
            for place in range(0, len(rows), BATCH_ROWS)
        ]
        score = _joined(blocks, "score", np.float32)
        if not np.isfinite(score).all():
            raise DeliveryError(
                "U33",
                found=f"a score that is no number, for row {int(np.argmin(np.isfinite(score)))}",
                where=f"release {self.release[:12]}",
                mend="look at the row; the device falls back when this goes on",
            )
        places = _joined(blocks, "fault", np.int64) if self.classes else ()
        return Answers(
            score=score,
            flagged=_joined(blocks, "flagged", np.float32) != 0,
            fault=tuple(self.classes[int(place)] for place in places),
        )

    def _batch(self, rows: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        filled = np.zeros((BATCH_ROWS, rows.shape[1]), np.float32)
        filled[: len(rows)] = rows
        values: dict[str, NDArray[Any]] = {self.input: filled}
        for step in self._steps:
            made = step.session.run(
                list(step.outputs), {name: values[name] for name in step.inputs}
            )
            values |= zip(step.outputs, made, strict=True)
        return {name: value[: len(rows)] for name, value in values.items()}


def read_file(slot: Path, manifest: Mapping[str, Any], name: str) -> bytes:
    """A file of a slot, read once and held to its manifest before anything looks into it.

    Raises:
        DeliveryError: D3, it is not the file that the manifest names.
    """
    path = slot / name
    named = manifest["files"].get(name)
    content = path.read_bytes() if named and path.is_file() and not path.is_symlink() else b""
    if named is None or bytes_digest(content) != named:
        raise DeliveryError(
            "D3",
            found=f"{name} is not the file that the manifest names",
            where=str(slot),
            mend="`firnline-agent pull` fetches the release again",
        )
    return content


def unfit(found: str, where: str) -> DeliveryError:
    """The error for a bundle that does not run here as it ran where it was proved: U22."""
    return DeliveryError(
        "U22",
        found=f"self-test: {found}",
        where=where,
        mend="the device keeps what it runs; publish a release for its target",
    )


def _step(slot: Path, manifest: Mapping[str, Any], link: Link) -> _Step:
    name = link.graph
    content = read_file(slot, manifest, name)
    try:
        session = integer_session(content)
    except Exception as error:  # ONNX Runtime's errors have no other class in common.
        raise unfit(f"a graph that does not open: {str(error)[:200]}", f"{slot}, {name}") from error
    taken = {given.name for given in session.get_inputs()}
    made = {given.name for given in session.get_outputs()}
    if taken != set(link.inputs) or not set(link.outputs) <= made:
        raise unfit(
            f"a graph that takes {sorted(taken)} and makes {sorted(made)}", f"{slot}, {name}"
        )
    return _Step(session, link.inputs, link.outputs)


def _joined(blocks: list[dict[str, NDArray[Any]]], name: str, kind: Any) -> NDArray[Any]:
    return np.concatenate([block[name].reshape(-1) for block in blocks] or [np.zeros(0)]).astype(
        kind, copy=False
    )
