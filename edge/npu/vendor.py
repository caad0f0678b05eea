"""Vendors' converters, each in its own environment and process: QDQ ONNX in, a chip's file out.

Their arithmetic is their own, so that they are never exact: the proof is how often and how far
they differ, and whether decisions agree. Their simulators run here, the chips do not.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from numpy.typing import NDArray

from edge.npu.process import give_rows, take_rows, work
from edge.npu.qdq_rules import static
from firnline.errors import DeliveryError

Kind = Literal["qnn", "rknn"]
Rows = NDArray[np.float32]

_FILES: dict[Kind, str] = {"qnn": "model_ctx.onnx", "rknn": "model.rknn"}
_CONTEXT = "EPContext"


@dataclass(frozen=True)
class Converted:
    """A model for a vendor's NPU, and what the vendor's simulator made of rows.

    Attributes:
        kind: Whose.
        platform: The chip, as the vendor's tool names it.
        file: Name of the file.
        content: The file: an ONNX with the context binary inside for QNN, an .rknn for RKNN.
        versions: Package -> version.
        outputs: float32 [rows, ...] of every output, in the model's order.
        cpu_operators: Nodes left to the processor, where the file tells.
    """

    kind: Kind
    platform: str
    file: str
    content: bytes
    versions: Mapping[str, str]
    outputs: tuple[Rows, ...]
    cpu_operators: tuple[str, ...]


@dataclass(frozen=True)
class Agreement:
    """How far a vendor's outputs lie from the reference's.

    Attributes:
        vectors: Rows compared.
        values: Values compared.
        differ: Share of the values that are not equal, 0 to 1.
        mean: Mean of |difference|, in the output's units.
        most: Greatest |difference|.
        spread: Standard deviation of the reference, to judge both by.
    """

    vectors: int
    values: int
    differ: float
    mean: float
    most: float
    spread: float


def convert(kind: Kind, model: bytes, platform: str, inputs: Sequence[Rows]) -> Converted:
    """Convert a QDQ graph for a chip, and run rows in the vendor's simulator.

    Args:
        kind: `qnn` for Qualcomm, `rknn` for Rockchip.
        model: QDQ ONNX that keeps the rules of `edge.npu.qdq_rules`; its batch is made 1.
        platform: HTP architecture such as `75`, or a chip such as `rk3588`.
        inputs: Every input of the model in order, [rows, *shape].

    Raises:
        DeliveryError: E66, the vendor's tool refuses the model; E60 or E61 of its environment.
        HandshakeError: E53, the model is no ONNX.
    """
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        source, made, outputs = folder / "model.onnx", folder / _FILES[kind], folder / "made.npz"
        source.write_bytes(static(model))
        step = {
            "do": kind,
            "model": str(source),
            "platform": platform,
            "inputs": give_rows(folder, "rows", inputs),
            "to": str(made),
            "outputs": str(outputs),
        }
        answer = _worked(folder, step, kind, platform)
        content = made.read_bytes()
        rows = tuple(np.asarray(found, np.float32) for found in take_rows(outputs))
    left = _left_over(content) if kind == "qnn" else ()
    return Converted(kind, platform, made.name, content, answer["versions"], rows, left)


def agreement(made: Sequence[Rows], wanted: Sequence[Rows]) -> Agreement:
    """Compare outputs value by value.

    Args:
        made: Every output of the vendor's simulator, [rows, ...].
        wanted: The same of the integer reference.
    """
    one = np.concatenate([rows.reshape(len(rows), -1) for rows in made], axis=1)
    other = np.concatenate([rows.reshape(len(rows), -1) for rows in wanted], axis=1)
    far = np.abs(one.astype(np.float64) - other)
    return Agreement(
        vectors=len(one),
        values=one.size,
        differ=float(np.mean(one != other)),
        mean=float(far.mean()),
        most=float(far.max()),
        spread=float(other.std()),
    )


def _worked(
    folder: Path, step: Mapping[str, str], kind: Kind, platform: str
) -> Mapping[str, dict[str, str]]:
    try:
        (answer,) = work(folder, [step], kind)
    except DeliveryError as error:
        if error.code != "E63":
            raise
        raise DeliveryError(
            "E66",
            found=error.found.replace(str(folder), ""),
            where=f"the {kind} converter, for {platform}",
            mend="see with `--target qdq-onnx` that the graph keeps every rule, then change the "
            "operator that the message names",
        ) from error
    found: Mapping[str, dict[str, str]] = answer
    return found


def _left_over(content: bytes) -> tuple[str, ...]:
    """Nodes of a context model that are no part of the context: the processor's."""
    graph = onnx.load_from_string(content).graph
    return tuple(
        f"{node.op_type} {node.name or node.output[0]}"
        for node in graph.node
        if node.op_type != _CONTEXT
    )
