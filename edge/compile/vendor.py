"""Vendors' NPUs: the integer part through the vendor's converter, run in the vendor's simulator.

What is float before and after it (scaling, score, threshold) stays an ONNX for the processor
beside the NPU. Vendors' arithmetic is their own, so no byte is held to the reference; decisions
are.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx.utils import Extractor

from edge.compile import Artifact, Ran
from edge.decide import SCORE
from edge.export.model import Model, input_name
from edge.npu.vendor import Converted, agreement, convert
from edge.program import Dequantize, Program, Quantize
from edge.session import integer_session
from firnline.contracts.target import Profile
from firnline.errors import HandshakeError

_ROWS = 256
"""Windows simulated: the vendors' simulators take a hundredth of a second or more each."""

Rows = dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Cut:
    """A QDQ graph in three.

    Attributes:
        before: From the input to what the integer part reads; None when it reads the input.
        body: The integer part, float in and out.
        after: From what it gives to the model's outputs; None when these are what it gives.
        given: Names of what the body reads.
        made: Names of what it gives.
    """

    before: bytes | None
    body: bytes
    after: bytes | None
    given: tuple[str, ...]
    made: tuple[str, ...]


@dataclass(frozen=True)
class _Built:
    cut: Cut
    converted: Converted
    given: Rows


def compile_for(kind: Literal["qnn", "rknn"], model: Model, profile: Profile) -> Artifact:
    """Convert the integer part, and run rows on the way: the converter's process simulates them.

    Raises:
        HandshakeError: E55, float operations lie between integer ones.
        DeliveryError: E60 to E69, of the vendor's tools.
    """
    if profile.vendor is None:
        raise ValueError(f"target {profile.name} has no [vendor]")
    parts = cut(model)
    rows = model.vectors[:_ROWS]
    given = {parts.given[0]: rows}
    if parts.before is not None:
        given = _run(parts.before, {input_name(model.int8_model): rows}, parts.given)
    made = convert(kind, parts.body, profile.vendor.platform, [given[name] for name in parts.given])
    outer = {"before.onnx": parts.before, "after.onnx": parts.after}
    return Artifact(
        files={
            made.file: made.content,
            **{name: content for name, content in outer.items() if content is not None},
        },
        toolchain=made.versions,
        figures={"flash_bytes": len(made.content)},
        notes=tuple(f"{name} is left to the processor" for name in made.cpu_operators),
        built=_Built(parts, made, given),
    )


def run(artifact: Artifact, model: Model, profile: Profile) -> Ran:
    """What the simulator made of the rows, beside the integer reference; decisions follow."""
    built: _Built = artifact.built
    made = dict(zip(built.cut.made, built.converted.outputs, strict=True))
    wanted = _run(built.cut.body, built.given, built.cut.made)
    found = agreement([made[name] for name in built.cut.made], [*wanted.values()])
    scores = None
    if model.rule is not None:
        outputs = _run(built.cut.after, made, (SCORE,)) if built.cut.after else made
        scores = outputs[SCORE].reshape(-1)
    note = (
        f"{found.differ:.1%} of {found.values:,} values on {found.vectors:,} windows differ from "
        f"ONNX Runtime's, by {found.mean:.3g} in the mean and {found.most:.3g} at most; the "
        f"values' deviation is {found.spread:.3g}"
    )
    return Ran(runner=f"simulator of {profile.kind}", values={}, scores=scores, notes=(note,))


def cut(model: Model) -> Cut:
    """The integer part of a model's graph, and what is float before and after it.

    Raises:
        HandshakeError: E55, float operations lie between integer ones.
    """
    graph = onnx.load_from_string(model.int8_model)
    steps, values = model.program.operations, model.program.values
    enter = {step.output for step in steps if isinstance(step, Quantize)}
    leave = {step.inputs[0] for step in steps if isinstance(step, Dequantize)}
    nodes = graph.graph.node
    given = tuple(
        node.input[0]
        for node in nodes
        if node.op_type == "QuantizeLinear" and node.output[0] in enter
    )
    made = tuple(
        node.output[0]
        for node in nodes
        if node.op_type == "DequantizeLinear" and node.input[0] in leave
    )
    whole = [output.name for output in graph.graph.output]
    if all(values[name].dtype == "int8" for name in model.program.inputs):
        given, made = (input_name(model.int8_model),), tuple(whole)
    extract = Extractor(onnx.shape_inference.infer_shapes(graph)).extract_model
    between = _between(model.program)
    if between or not given or not made:
        raise HandshakeError(
            "E55",
            found="float operations between integer ones"
            if between
            else "no integer part of its own",
            where=", ".join(between) or model.name,
            mend="choose an Ethos-U or microcontroller target, which take parts in turns",
        )
    body = extract(list(given), list(made))
    outputs = [name for name in model.program.outputs if name in whole and name not in made]
    return Cut(
        before=None if given == (input_name(model.int8_model),)
        else _bytes(extract([input_name(model.int8_model)], list(given))),
        body=_bytes(body),
        after=_bytes(extract(list(made), outputs)) if outputs else None,
        given=given,
        made=made,
    )  # fmt: skip


def _between(program: Program) -> list[str]:
    """Operations that quantise what float operations made of the integer part's values."""
    values = program.values
    left: set[str] = set()
    found = []
    for step in program.operations:
        behind = any(name in left or values[name].dtype == "int8" for name in step.inputs)
        if isinstance(step, Quantize) and behind:
            found.append(step.name)
        elif behind and values[step.output].dtype != "int8":
            left.add(step.output)
    return found


def _run(content: bytes, given: Rows, wanted: tuple[str, ...]) -> Rows:
    """Outputs of a graph on rows, one row at a time where its batch is fixed."""
    session = integer_session(content)
    fixed = isinstance(session.get_inputs()[0].shape[0], int)
    rows = len(next(iter(given.values())))
    size = 1 if fixed else rows
    parts: list[list[Any]] = []
    for place in range(0, rows, size):
        feed = {name: value[place : place + size] for name, value in given.items()}
        parts.append(session.run(list(wanted), feed))
    return {
        name: np.concatenate(blocks)
        for name, blocks in zip(wanted, zip(*parts, strict=True), strict=True)
    }


def _bytes(model: onnx.ModelProto) -> bytes:
    return bytes(model.SerializeToString(deterministic=True))
