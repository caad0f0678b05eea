"""A graph quantised, lowered, and the integer reference held to ONNX Runtime at every int8 value.

Where ONNX Runtime's own float result is no defined sequence of roundings (sums of products, exp),
an int8 value made from it is compared to within one step, and what follows is computed by ONNX
Runtime from the reference's.
"""

from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime

from edge.export.model import _as_taken
from edge.lower import lower
from edge.quantize import quantize
from edge.reference import run
from tests.edge.lower.graphs import has_vnni

_UNDEFINED = ("Gemm", "MatMul", "Conv", "Sigmoid", "Tanh", "Exp", "Softmax", "ReduceSum",
              "ReduceMean", "AveragePool", "GlobalAveragePool", "Elu")  # fmt: skip
"""Operators whose float result depends on the library's order of sums or its approximation."""


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
    # Elsewhere ONNX Runtime's sums of two products saturate with eight bits.
    how = case.how if has_vnni() else case.how.model_copy(update={"reduce_range": True})
    model = quantize(case.model, case.rows[:-4], how).model
    program = lower(model, name, io=case.io)
    inputs = {program.inputs[0]: _as_taken(program, case.rows)}
    outputs = run(program, inputs)
    opened = _opened(model)
    every = run(lower(opened, name), {program.inputs[0]: case.rows})
    problems = _compared(opened, case.rows, every)
    for output, value in outputs.items():
        held = program.values[output]
        real = value
        if held.dtype == "int8" and every[output].dtype == np.float32:
            real = (value.astype(np.float32) - held.zero) * np.float32(held.scale)
        if not np.array_equal(real, every[output], equal_nan=True):
            problems.append(f"output {output} differs from that of the graph with all int8 values")
    return Made(program, inputs, outputs, problems)


def _opened(model):
    """The graph with every int8 value among its outputs, and what an ArgMax of floats reads."""
    opened = onnx.load_from_string(model)
    known = {output.name for output in opened.graph.output}
    for node in opened.graph.node:
        if node.op_type == "QuantizeLinear" and node.output[0] not in known:
            made = onnx.ValueInfoProto(name=node.output[0])
            made.type.tensor_type.elem_type = onnx.TensorProto.INT8
            opened.graph.output.append(made)
    close, _ = _undefined(opened)
    for node in opened.graph.node:
        # Two of the greatest may be so close that the library decides; then see them all.
        if node.output[0] in close and node.op_type == "ArgMax" and node.input[0] not in known:
            opened.graph.output.append(onnx.ValueInfoProto(name=node.input[0]))
    opened = onnx.shape_inference.infer_shapes(opened)
    return opened.SerializeToString()


def _compared(model, rows, wanted):
    """What differs between ONNX Runtime and the reference."""
    opened = onnx.load_from_string(model)
    close, loose = _undefined(opened)
    chosen = {node.output[0] for node in opened.graph.node if node.op_type == "ArgMax"}
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
        if name in close & chosen:
            continue
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


def _undefined(model):
    """Values that ONNX Runtime does not define to the bit, and int8 values made from such."""
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

    close = {name for name in makers if undefined(name)}
    loose = {name for name in close if makers[name].op_type == "QuantizeLinear"}
    return close, loose


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
