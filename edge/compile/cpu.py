"""Application processors: the QDQ ONNX in ONNX Runtime."""

import platform
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper

from edge.compile import Artifact, Ran, Values
from edge.decide import SCORE
from edge.export.model import Model
from edge.parity_run import score
from edge.program import Dense, Dequantize, Operation, Value
from edge.session import exact_in_eight_bits
from firnline.contracts.target import Profile

EXACT = True
FILE = "model.onnx"
_TIMED_ROWS, _ROUNDS = 200, 5


def ready(profile: Profile) -> None:
    """ONNX Runtime is always here."""


def compile(model: Model, profile: Profile, folder: Path) -> Artifact:
    """The graph is the artifact; it holds scaling, score and threshold."""
    kept = sum(array.nbytes for array in _arrays(model.int8_model))
    return Artifact(
        files={FILE: model.int8_model},
        toolchain={"onnxruntime": onnxruntime.__version__},
        figures={"flash_bytes": len(model.int8_model), "weight_bytes": kept},
    )


def run(artifact: Artifact, model: Model, profile: Profile) -> Ran:
    """Run it here, when this is such a machine."""
    cpu, here = profile.cpu, machine()
    if cpu is None or cpu.machine != here:
        note = f"not run: this machine is {here}; the same graph is proved on cpu-x86_64"
        return Ran(runner="", values={}, notes=(note,))
    return run_here(artifact.files[FILE], model, reduced=cpu.reduce_range)


def run_here(content: bytes, model: Model, *, reduced: bool) -> Ran:
    """Run a graph on this machine, and time it beside the float graph.

    Compared are the int8 values that leave the integer part: what comes after them is computed
    in float, in an order that is ONNX Runtime's own.

    Args:
        content: The artifact's graph.
        model: What it was made of.
        reduced: Whether its weights have seven bits, which no x86 saturates on.
    """
    notes = []
    values: Values = {}
    if exact_in_eight_bits() or reduced:
        values = _integers(content, model)
    else:
        notes.append(
            "this x86 has no VNNI and its int8 saturates: run cpu-x86_64-7bit here, or let "
            "ONNX Runtime compute in float (session.disable_quant_qdq)"
        )
    scored = score(content, model.vectors, SCORE)[SCORE][:, 0] if model.rule else None
    return Ran(
        runner=f"onnxruntime {onnxruntime.__version__}",
        values=values,
        scores=scored,
        notes=tuple(notes),
        timings=_timings(content, model),
    )


def machine() -> str:
    """This machine, as a profile's `[cpu]` names it; Windows and macOS have names of their own."""
    return platform.machine().replace("AMD64", "x86_64").replace("arm64", "aarch64")


def _timings(content: bytes, model: Model) -> dict[str, int | str]:
    """Nanoseconds of int8 and of float, and a warning where int8 is the slower one."""
    taken = {"int8": _nanoseconds(content, model)}
    taken["float"] = _nanoseconds(model.float_model, model)
    if taken["int8"] <= taken["float"]:
        return {**taken}
    slower = taken["int8"] / taken["float"]
    return {
        **taken,
        "warning": f"int8 takes {slower:.2f} times as long as float on this shape and machine: it "
        "pays in size here, not in time",
    }


def _integers(content: bytes, model: Model) -> dict[str, NDArray[Any]]:
    """What leaves the integer part, as ONNX Runtime computes it: values of the program by name."""
    loaded = onnx.load_from_string(content)
    made = {name for node in loaded.graph.node for name in node.output}
    present = {value.name for value in loaded.graph.output}
    program = model.program
    dequantised = [step for step in program.operations if isinstance(step, Dequantize)]
    inside = [step.inputs[0] for step in dequantised if step.inputs[0] in made - present]
    # Images lie in memory otherwise than in the graph; as outputs they lie as there.
    inside = [name for name in inside if sum(axis > 1 for axis in program.values[name].shape) < 2]
    sums = [step.output for step in program.operations if _float_sum(step)]
    inside += [name for name in sums if name in made - present]
    for name in dict.fromkeys(inside):
        kind = TensorProto.FLOAT if name in sums else TensorProto.INT8
        loaded.graph.output.append(helper.make_tensor_value_info(name, kind, None))
    exact = {step.output for step in dequantised} | set(sums)
    outer = [
        name for name in program.outputs if name in exact or program.values[name].dtype == "int8"
    ]
    wanted = list(dict.fromkeys([*inside, *outer]))
    found = score(loaded.SerializeToString(), model.vectors, *wanted) if wanted else {}
    return {name: _stored(program.values[name], rows) for name, rows in found.items()}


def _float_sum(step: Operation) -> bool:
    """Whether integers leave as float32: one sum times one scale, which has one result."""
    return isinstance(step, Dense) and step.requant is None


def _stored(value: Value, rows: NDArray[Any]) -> NDArray[Any]:
    """Rows as the program holds them; of an int8 output the graph gives the real numbers."""
    shaped = rows.reshape(len(rows), *value.shape)
    if value.dtype != "int8" or rows.dtype == np.int8:
        return shaped
    # Dequantised numbers lie on the grid, so this is their only inverse.
    stored: NDArray[np.int8] = (np.rint(shaped / np.float32(value.scale)) + value.zero).astype(
        np.int8
    )
    return stored


def _nanoseconds(content: bytes, model: Model) -> int:
    """Least time of one row, a row at a time, on one thread, as ONNX Runtime is by default."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    rows = [
        model.vectors[place : place + 1] for place in range(min(_TIMED_ROWS, len(model.vectors)))
    ]
    best = float("inf")
    for _ in range(_ROUNDS):
        started = time.perf_counter_ns()
        for row in rows:
            session.run(None, {name: row})
        best = min(best, (time.perf_counter_ns() - started) / len(rows))
    return int(best)


def _arrays(content: bytes) -> list[NDArray[Any]]:
    graph = onnx.load_from_string(content).graph
    return [np.asarray(onnx.numpy_helper.to_array(constant)) for constant in graph.initializer]
