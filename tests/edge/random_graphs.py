"""Random float graphs through the whole export: exact on a core, or refused by name.

For every graph the integer reference is held to ONNX Runtime's integer path at every int8 value,
and the generated C, in an emulator, to the reference, byte by byte. Where ONNX Runtime's own float
result is no defined sequence of roundings (sums of products, exp), an int8 value made from it is
compared to within one step, and what follows is computed by ONNX Runtime from the reference's.
"""

from dataclasses import dataclass

import itertools
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import onnxruntime
from hypothesis import HealthCheck, Phase, given, seed, settings

from edge.compile.mcu import rows_of, values_of
from edge.export.model import _as_taken
from edge.lower import lower
from edge.mcu.generate import generate
from edge.mcu.tools import CORES, build
from edge.mcu.tools import run as emulate
from edge.quantize import quantize
from edge.reference import run
from firnline.errors import FirnlineError
from tests.edge.random_nets import cases

HOST = "host"
"""Portable C on this machine, built so that undefined behaviour ends the program."""

TARGETS = (*("cortex-m4", "cortex-m3", "cortex-m0", "cortex-m55", "rv32imc", HOST),
           *("cortex-m7", "cortex-m33"))  # fmt: skip
_TOGETHER = 25
"""Graphs in one image."""

_UNDEFINED = ("Gemm", "MatMul", "Conv", "Sigmoid", "Tanh", "Exp", "Softmax", "ReduceSum",
              "ReduceMean", "AveragePool", "GlobalAveragePool", "Elu")  # fmt: skip
"""Operators whose float result depends on the library's order of sums or its approximation."""


def drawn(count):
    """As many different graphs, the same ones every time."""
    found = {}

    @seed(0)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(cases())
    def collect(case):
        found.setdefault(case.model, case)

    collect()
    return list(found.values())


@dataclass(frozen=True)
class Found:
    """What came of many graphs.

    Attributes:
        refused: Graphs with an unsupported operator, refused by its name and its node's.
        exact: Graphs whose every byte is right.
        target: The cores, each graph on one of them.
        toolchain: Compilers.
        runner: Emulators.
        vectors: Rows that went through, of all graphs.
        bytes_differ: Bytes of C's results that are not the reference's.
        failures: What went wrong, with the graph; empty when nothing did.
    """

    refused: int
    exact: int
    target: str
    toolchain: str
    runner: str
    vectors: int
    bytes_differ: int
    failures: list


def check_many(count, together=_TOGETHER, targets=None):
    """Many graphs, as many to an image, the images' cores in turn.

    Args:
        count: How many; the same ones every time.
        together: How many to an image.
        targets: Names of cores, and `HOST`; all there are, less the M55 where QEMU is not there.
    """
    if targets is None:
        there = shutil.which(CORES["cortex-m55"].qemu) is not None
        targets = [name for name in TARGETS if there or name != "cortex-m55"]
    graphs = drawn(count)
    parts = [graphs[begin : begin + together] for begin in range(0, len(graphs), together)]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(_checked, parts, itertools.cycle(targets)))
    used = targets[: len(parts)]
    return Found(
        refused=sum(one.refused for one in found),
        exact=sum(one.exact for one in found),
        target=", ".join(name if name == HOST else f"mcu-{name}" for name in used),
        toolchain=", ".join(dict.fromkeys(one.toolchain for one in found)),
        runner=", ".join(dict.fromkeys(one.runner for one in found)),
        vectors=sum(one.vectors for one in found),
        bytes_differ=sum(one.bytes_differ for one in found),
        failures=[failure for one in found for failure in one.failures],
    )


def _checked(graphs, target):
    """Graphs on one core."""
    refused, failures, through = 0, [], []
    for place, case in enumerate(graphs):
        try:
            one = made(case, f"graph{place}")
        except FirnlineError as error:
            allowed = [pair for pair in case.refusable if all(name in str(error) for name in pair)]
            refused += bool(allowed)
            failures += [] if allowed else [f"refused: {error}\n{case}"]
            continue
        except Exception as error:
            failures.append(f"{type(error).__name__}: {error}\n{case}")
            continue
        failures += [f"{problem}\n{case}" for problem in one.problems]
        if case.unsupported:
            failures.append(f"not refused: {case.unsupported}\n{case}")
        through.append((case, one))
    programs = [one.program for _, one in through]
    rows = [rows_of(one.program, one.inputs) for _, one in through]
    outputs, toolchain, runner = computed(programs, rows, target)
    differ = [_differing(one, raw) for (_, one), raw in zip(through, outputs, strict=True)]
    failures += [
        f"{target}: {count} bytes differ from the reference\n{case}"
        for (case, _), count in zip(through, differ, strict=True)
        if count
    ]
    exact = sum(not one.problems and not n for (_, one), n in zip(through, differ, strict=True))
    vectors = sum(map(len, rows))
    return Found(refused, exact, target, toolchain, runner, vectors, sum(differ), failures)


def _differing(one, raw):
    """Bytes that are not the reference's; one NaN is as good as another."""
    count = 0
    for name, value in values_of(one.program, raw).items():
        wanted = np.ascontiguousarray(one.outputs[name], value.dtype).reshape(value.shape)
        bits = np.ascontiguousarray(value).view(np.uint8) != wanted.view(np.uint8)
        bits = bits.reshape(value.size, -1)
        if value.dtype == np.float32:
            bits[(np.isnan(value) & np.isnan(wanted)).ravel()] = False
        count += int(bits.sum())
    return count


def computed(programs, rows, target):
    """Results of the generated C of several programs: in one image, each on its own rows.

    Args:
        programs: With names that differ.
        rows: uint8 [rows, bytes] for each; as many rows for all.
        target: Name of a core, or `HOST`.

    Returns:
        uint8 [rows, bytes] for each, the toolchain and the runner.
    """
    family = "portable" if target == HOST else CORES[target].family
    projects = [generate(program, family) for program in programs]
    files = {name: text for project in projects for name, text in project.files.items()}
    widths = [sum(one.values[name].bytes for name in one.outputs) for one in programs]
    begins, ends = ([0, *itertools.accumulate(-(-width // 16) * 16 for width in side)]
                    for side in ([one.shape[1] for one in rows], widths))  # fmt: skip
    files["entry.c"] = _entry(projects, begins, ends)
    given = np.zeros((len(rows[0]), begins[-1]), np.uint8)
    for place, one in zip(begins, rows, strict=False):
        given[:, place : place + one.shape[1]] = one
    with TemporaryDirectory() as folder:
        if target == HOST:
            raw, toolchain, runner = _on_host(files, given, ends[-1], Path(folder))
        else:
            image = build(CORES[target], files, Path(folder))
            done = emulate(image, given)
            raw, toolchain, runner = done.outputs, image.toolchain, done.runner
    cut = [raw[:, place : place + width] for place, width in zip(ends, widths, strict=False)]
    return cut, toolchain, runner


def _entry(projects, begins, ends):
    """All programs' entries, one after the other, under names of their own."""
    texts = []
    for project in projects:
        text = project.files["entry.c"]
        for name in ("entry", "in_bytes", "out_bytes"):
            text = text.replace(f"firnline_{name}", f"{project.name}_{name}")
        texts.append(text)
    calls = "\n".join(
        f"    {project.name}_entry((const uint8_t *)in + {begin}, (uint8_t *)out + {end});"
        for project, begin, end in zip(projects, begins, ends, strict=False)
    )
    return (
        "\n".join(texts)
        + f"""
extern const uint32_t firnline_in_bytes;
extern const uint32_t firnline_out_bytes;
void firnline_entry(const void *in, void *out);
const uint32_t firnline_in_bytes = {begins[-1]}u;
const uint32_t firnline_out_bytes = {ends[-1]}u;
void firnline_entry(const void *in, void *out)
{{
{calls}
}}
"""
    )


_MAIN = """
#include <stdint.h>
#include <stdio.h>
extern const uint32_t firnline_in_bytes;
extern const uint32_t firnline_out_bytes;
void firnline_entry(const void *in, void *out);
static uint8_t in[1 << 22] __attribute__((aligned(16)));
static uint8_t out[1 << 22] __attribute__((aligned(16)));
int main(void)
{
    while (fread(in, firnline_in_bytes, 1, stdin) == 1) {
        firnline_entry(in, out);
        fwrite(out, firnline_out_bytes, 1, stdout);
    }
    return 0;
}
"""


def _on_host(files, given, width, folder):
    for name, text in {**files, "main.c": _MAIN}.items():
        (folder / name).write_text(text)
    sources = [name for name in (*files, "main.c") if name.endswith(".c")]
    command = [sys.executable, "-m", "ziglang", "cc", "-std=c99", "-O1", "-mfma", "-Wall",
               "-Wextra", "-Werror", "-fsanitize=undefined", *sources, "-o", "host"]  # fmt: skip
    subprocess.run(command, cwd=folder, check=True)
    done = subprocess.run(
        [str(folder / "host")], input=given.tobytes(), capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-2000:]
    version = [sys.executable, "-m", "ziglang", "version"]
    zig = subprocess.run(version, capture_output=True, text=True, check=True).stdout.strip()
    made = np.frombuffer(done.stdout, np.uint8).reshape(len(given), width)
    return made, f"zig {zig}", HOST


@dataclass(frozen=True)
class Made:
    """A graph that came through.

    Attributes:
        program: The integer program.
        inputs: Its rows.
        outputs: The reference's results.
        problems: Where it differs from ONNX Runtime; empty where it does not.
    """

    program: object
    inputs: dict
    outputs: dict
    problems: list


def made(case, name):
    """Quantise, lower, and hold the reference to ONNX Runtime.

    Raises:
        FirnlineError: Refused.
    """
    model = quantize(case.model, case.rows[:-4], case.how).model
    program = lower(model, name, io=case.io)
    inputs = {program.inputs[0]: _as_taken(program, case.rows)}
    outputs = run(program, inputs)
    opened, quantizers = _opened(model)
    every = run(lower(opened, name), {program.inputs[0]: case.rows})
    problems = _compared(opened, quantizers, case.rows, every)
    for output, value in outputs.items():
        held = program.values[output]
        real = value
        if held.dtype == "int8" and every[output].dtype == np.float32:
            real = (value.astype(np.float32) - held.zero) * np.float32(held.scale)
        if not np.array_equal(real, every[output], equal_nan=True):
            problems.append(f"output {output} differs from that of the graph with all int8 values")
    return Made(program, inputs, outputs, problems)


def _opened(model):
    """The graph with every int8 value among its outputs, and its QuantizeLinear nodes."""
    opened = onnx.load_from_string(model)
    known = {output.name for output in opened.graph.output}
    quantizers = [node for node in opened.graph.node if node.op_type == "QuantizeLinear"]
    for node in quantizers:
        if node.output[0] not in known:
            made = onnx.ValueInfoProto(name=node.output[0])
            made.type.tensor_type.elem_type = onnx.TensorProto.INT8
            opened.graph.output.append(made)
    opened = onnx.shape_inference.infer_shapes(opened)
    return opened.SerializeToString(), [node.output[0] for node in quantizers]


def _compared(model, quantizers, rows, wanted):
    """What differs between ONNX Runtime and the reference."""
    opened = onnx.load_from_string(model)
    loose = _loose(opened)
    shapes = {output.name: output for output in opened.graph.output}
    given = {opened.graph.input[0].name: rows}
    for node in opened.graph.node:
        if node.op_type == "QuantizeLinear" and node.output[0] in loose:
            name = node.output[0]
            opened.graph.input.append(shapes[name])
            shapes[name].name, node.output[0] = f"{name}/own", f"{name}/own"
            given[name] = wanted[name]
    found = _onnx(opened.SerializeToString(), given)
    problems = []
    for name, value in found.items():
        own = wanted[name.removesuffix("/own")]
        if name.removesuffix("/own") in loose:
            same = np.abs(value.astype(int) - own).max(initial=0) <= 1
        elif value.dtype == np.float32:
            same = np.allclose(value, own.reshape(value.shape), 1e-4, 1e-5, equal_nan=True)
        else:
            same = np.array_equal(value, own.reshape(value.shape))
        if not same:
            differ = int((value != own.reshape(value.shape)).sum())
            problems.append(f"{name}: {differ} of {value.size} elements differ from ONNX Runtime")
    return problems


def _loose(model):
    """Int8 values made from float results that ONNX Runtime does not define to the bit."""
    constants = {item.name for item in model.graph.initializer}
    makers = {name: node for node in model.graph.node for name in node.output}
    readers = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)

    def integer(node):
        """Whether all of a node's values come dequantised, and all that reads it quantises."""
        read = [name for name in node.input if name not in constants]
        plain = node.op_type not in ("Gemm", "MatMul", "Conv") or len(read) == len(node.input)
        return (
            plain
            and all(_kind(makers.get(name)) == "DequantizeLinear" for name in read)
            and all(_kind(item) == "QuantizeLinear" for item in readers.get(node.output[0], []))
        )

    def undefined(name):
        node = makers.get(name)
        if node is None or node.op_type == "DequantizeLinear":
            return False
        if node.op_type in _UNDEFINED and not integer(node):
            return True
        return any(undefined(read) for read in node.input)

    return {
        node.output[0]
        for node in model.graph.node
        if node.op_type == "QuantizeLinear" and undefined(node.input[0])
    }


def _kind(node):
    return node.op_type if node is not None else ""


def _onnx(model, given):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.qdqisint8allowed", "1")
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [item.name for item in session.get_outputs()]
    taken = [item.name for item in session.get_inputs()]
    one = session.get_inputs()[0].shape[0] == 1
    rows = len(next(iter(given.values())))
    parts = [
        session.run(names, {name: given[name][place : place + (1 if one else rows)]
                            for name in taken})
        for place in range(0, rows, 1 if one else rows)
    ]  # fmt: skip
    return {
        name: np.concatenate(values)
        for name, values in zip(names, zip(*parts, strict=True), strict=True)
    }
