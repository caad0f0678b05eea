"""Any float ONNX model -> a graph with static shapes, the default domain alone and plain layers.

Shapes are those of one row; the batch axis keeps its name where it had one. Constants are folded,
`Identity` and `Dropout` are gone, and `edge.quantize.simplify` has written linear maps as layers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, inliner, numpy_helper, shape_inference, version_converter

from edge.quantize.graph import (
    IR_VERSION,
    Constant,
    Net,
    attribute,
    model_of,
    node_like,
    part,
    serialised,
    unused,
)
from edge.quantize.pooling import rounded_up
from edge.quantize.simplify import simplified
from firnline.errors import HandshakeError

OPSETS = (13, 17)
"""First: weight scales by channel. Last: what the vendors' tools read."""

_WHERE = "the float graph"


def prepare(float_model: bytes, row: Sequence[int]) -> Net:
    """Read a float model and write it the way that the quantiser needs it.

    Args:
        float_model: ONNX bytes.
        row: Shape of one calibration row; it settles axes that the model leaves open.

    Raises:
        HandshakeError: E10, an operator is of another domain; E11, it is no float ONNX model;
            E12, its input is not one float32 value with a batch axis of 1 or any size.
    """
    model = _read(float_model)
    name, batch = _fix_input(model, tuple(row))
    _round_up(model)
    model = _with_shapes(model, check_type=True)
    net = _folded(_net(model, name, batch))
    net = inferred(_unwrapped(net))
    net = inferred(_row_by_row(net))
    _check_shapes(net)
    return simplified(net, inferred)


def inferred(net: Net) -> Net:
    """The same graph with the shapes and types of all values, and dead nodes dropped."""
    cut = part(net, [net.input], net.outputs)
    static = replace(cut, batch="", shapes={net.input: net.shapes[net.input]})
    model = model_of(static, outputs=[])
    model.graph.output.extend(onnx.ValueInfoProto(name=output) for output in net.outputs)
    shapes, types = _shapes(_with_shapes(model, strict_mode=True))
    return replace(cut, shapes=shapes, types=types)


def _with_shapes(model: Any, **how: bool) -> Any:
    try:
        return shape_inference.infer_shapes(model, data_prop=True, **how)
    except Exception as error:  # As in `_read`.
        raise _unreadable(f"its shapes do not fit together: {error}") from error


def _check_shapes(net: Net) -> None:
    for name in net.makers():
        if min(net.shapes.get(name, ()), default=1) < 1:
            raise _unreadable(f"value {name} has no elements")
    for name in net.outputs:
        if name not in net.shapes:
            raise _unreadable(f"the shape of output {name} depends on the data")


def _read(float_model: bytes) -> Any:
    try:
        model = onnx.load_from_string(float_model)
        onnx.checker.check_model(model)
        if len(model.functions):
            model = inliner.inline_local_functions(model)
        opsets = {item.domain: item.version for item in model.opset_import}
        if not OPSETS[0] <= opsets.get("", OPSETS[1]) <= OPSETS[1]:
            model = version_converter.convert_version(model, OPSETS[1])
    except Exception as error:  # onnx raises several unrelated kinds here.
        raise _unreadable(f"not read as a model of opset {OPSETS[1]}: {error}") from error
    if len(model.graph.sparse_initializer):
        raise _unreadable("it holds sparse constants")
    for node in model.graph.node:
        if node.domain not in ("", "ai.onnx"):
            raise HandshakeError(
                "E10",
                found=f"operator {node.domain}.{node.op_type}",
                where=f"node {node.name or '(unnamed)'} of {_WHERE}",
                mend="use operators of ONNX's default domain alone",
            )
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            raise _unreadable("it is quantised already")
    return model


def _unreadable(found: str) -> HandshakeError:
    mend = f"export the float model with opset {OPSETS[0]} to {OPSETS[1]}"
    return HandshakeError("E11", found=found, where=_WHERE, mend=mend)


def _fix_input(model: Any, row: tuple[int, ...]) -> tuple[str, str]:
    """Give the one input the shape of one row; its name, and that of its batch axis."""
    constants = {item.name for item in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    if len(inputs) != 1:
        raise _misshaped(f"{len(inputs)} inputs: {', '.join(value.name for value in inputs)}")
    tensor = inputs[0].type.tensor_type
    if tensor.elem_type != TensorProto.FLOAT:
        kind = TensorProto.DataType.Name(tensor.elem_type)
        raise _misshaped(f"input {inputs[0].name} is {kind}")
    axes = list(tensor.shape.dim)
    known = [axis.dim_value if axis.HasField("dim_value") else None for axis in axes]
    shown = [axis.dim_param or axis.dim_value or "?" for axis in axes]
    if not axes or known[0] not in (1, None) or len(axes) < 2:
        raise _misshaped(f"input {inputs[0].name} has shape {shown}")
    if len(row) != len(axes) - 1 or any(
        size not in (None, given) for size, given in zip(known[1:], row, strict=True)
    ):
        raise _misshaped(f"input {inputs[0].name} has shape {shown}, a calibration row {list(row)}")
    batch = "" if known[0] == 1 else axes[0].dim_param or "batch"
    for axis, size in zip(axes, (1, *row), strict=True):
        axis.Clear()
        axis.dim_value = size
    kept = inputs[0]
    del model.graph.input[:]
    model.graph.input.append(kept)
    del model.graph.value_info[:]
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    return str(kept.name), batch


def _round_up(model: Any) -> None:
    """Write out the padding of pools with `ceil_mode`: ONNX's inference has too many windows."""
    for node in model.graph.node:
        if node.op_type not in ("MaxPool", "AveragePool") or not attribute(node, "ceil_mode", 0):
            continue
        shapes, _ = _shapes(shape_inference.infer_shapes(model, data_prop=True))
        plain = attribute(node, "auto_pad", "NOTSET") == "NOTSET"
        plain = plain and not attribute(node, "count_include_pad", 0)
        if plain and node.input[0] in shapes:
            made = node_like(node, ceil_mode=0, pads=rounded_up(node, shapes[node.input[0]][2:]))
            node.CopyFrom(made)


def _misshaped(found: str) -> HandshakeError:
    mend = "give the graph one float32 input [1 or rows, ...], and calibration rows of its shape"
    return HandshakeError("E12", found=found, where=_WHERE, mend=mend)


def _net(model: Any, name: str, batch: str) -> Net:
    graph = model.graph
    taken = [node.name for node in graph.node if node.name]
    repeated = {given for given in taken if taken.count(given) > 1}
    names = set(taken) - repeated
    nodes = []
    for place, node in enumerate(graph.node):
        given = node.name
        if not given or given in repeated:
            given = unused(given or f"{node.op_type.lower()}/{place}", names)
            names.add(given)
        nodes.append(node_like(node, name=given))
    constants = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
    shapes, types = _shapes(model)
    opset = next(item.version for item in model.opset_import if item.domain in ("", "ai.onnx"))
    outputs = tuple(value.name for value in graph.output)
    return Net(graph.name or "model", tuple(nodes), constants, name, outputs, shapes, types, batch,
               opset)  # fmt: skip


def _shapes(model: Any) -> tuple[dict[str, tuple[int, ...]], dict[str, int]]:
    """Shape and element type of every value whose shape is known."""
    shapes, types = {}, {}
    graph = model.graph
    for value in (*graph.input, *graph.value_info, *graph.output):
        tensor = value.type.tensor_type
        types[value.name] = tensor.elem_type
        axes = tensor.shape.dim
        if tensor.HasField("shape") and all(axis.HasField("dim_value") for axis in axes):
            shapes[value.name] = tuple(axis.dim_value for axis in axes)
    for item in graph.initializer:
        shapes[item.name], types[item.name] = tuple(item.dims), item.data_type
    return shapes, types


def _folded(net: Net) -> Net:
    """Nodes that read constants alone are constants; so is the shape of a known shape."""
    fixed, folding = dict(net.constants), []
    for node in net.nodes:
        read = [name for name in node.input if name]
        if node.op_type == "Shape" and read[0] in net.shapes and read[0] not in fixed:
            shape = np.array(net.shapes[read[0]], np.int64)
            end = attribute(node, "end", len(shape))
            fixed[node.output[0]] = shape[attribute(node, "start", 0) : end]
        elif _is_pure(node) and all(name in fixed for name in read):
            folding.append(node)
            fixed |= {name: np.zeros(0) for name in node.output if name}
    if folding:
        made = [name for node in folding for name in node.output if name]
        given = {name for node in folding for name in node.input if name} - set(made)
        fixed |= _computed(net, folding, made, {name: fixed[name] for name in sorted(given)})
    rest = [node for node in net.nodes if not all(name in fixed for name in node.output if name)]
    return net.with_nodes(_kept_outputs(net, rest, fixed), fixed)


def _is_pure(node: Any) -> bool:
    nested = any(item.HasField("g") or item.graphs for item in node.attribute)
    return not nested and not node.op_type.startswith(("Random", "Bernoulli", "Multinomial"))


def _computed(
    net: Net, nodes: list[Any], made: list[str], given: Mapping[str, Constant]
) -> dict[str, Constant]:
    graph = helper.make_graph(
        nodes,
        "constants",
        [],
        [onnx.ValueInfoProto(name=name) for name in made],
        [numpy_helper.from_array(value, name) for name, value in given.items()],
    )
    opsets = [helper.make_opsetid("", net.opset)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
    model = shape_inference.infer_shapes(model, data_prop=True)
    session = onnxruntime.InferenceSession(serialised(model), providers=["CPUExecutionProvider"])
    return dict(zip(made, session.run(made, {}), strict=True))


def _kept_outputs(net: Net, nodes: list[Any], fixed: Mapping[str, Constant]) -> list[Any]:
    """A graph output that is constant is still made by a node."""
    still = [name for name in net.outputs if name in fixed]
    wanted = {node.name for node in net.nodes if any(name in still for name in node.output)}
    return [node for node in net.nodes if node.name in wanted or node in nodes]


def _unwrapped(net: Net) -> Net:
    """Without nodes that hand a value on as it is."""
    known: dict[str, str] = {}
    kept = []
    for node in net.nodes:
        made = node_like(node, input=[known.get(name, name) for name in node.input])
        masked = len(node.output) > 1 and bool(node.output[1])
        idle = node.op_type == "Identity" or (node.op_type == "Dropout" and not masked)
        if idle and node.output[0] not in net.outputs:
            known[node.output[0]] = made.input[0]
        elif node.op_type == "Dropout" and not masked:
            kept.append(helper.make_node("Identity", made.input[:1], node.output, name=node.name))
        else:
            kept.append(made)
    return net.with_nodes(_without_last_identity(net, kept))


def _without_last_identity(net: Net, nodes: list[Any]) -> list[Any]:
    """The node before an Identity makes the graph output itself, where nothing forbids it."""
    makers = {name: node for node in nodes for name in node.output if name}
    renamed: dict[str, str] = {}
    for node in nodes:
        source = node.input[0] if node.op_type == "Identity" else ""
        free = source in makers and source not in net.outputs and source not in renamed
        if free:
            renamed[source] = node.output[0]
    return [
        node_like(
            node,
            input=[renamed.get(name, name) for name in node.input],
            output=[renamed.get(name, name) for name in node.output],
        )
        for node in nodes
        if not (node.op_type == "Identity" and renamed.get(node.input[0]) == node.output[0])
    ]


def _row_by_row(net: Net) -> Net:
    """Reshapes that leave the batch axis alone, so that any number of rows may go through."""
    constants, nodes, batch = dict(net.constants), [], net.batch
    for node in net.nodes:
        made, given = net.shapes.get(node.output[0], (0,)), net.shapes.get(node.input[0], (0,))
        if node.op_type == "Reshape" and made[:1] == given[:1] == (1,):
            name = unused(f"{node.name}/shape", constants)
            constants[name] = np.array([0, *made[1:]], np.int64)
            node = node_like(node, input=[node.input[0], name], allowzero=0)
        if any(net.shapes.get(name, ())[:1] != (1,) for name in node.output if name):
            batch = ""
        nodes.append(node)
    return replace(net.with_nodes(nodes, constants), batch=batch)
