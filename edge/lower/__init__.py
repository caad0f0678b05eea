"""QDQ ONNX -> the integer program.

Nodes are lowered in the graph's order. What an integer layer makes stays open until it is known
who reads it: a QuantizeLinear takes it into int8, with the Relu or Clip in between; any other
reader has it in float32. See `edge.lower.symbols` for how elements come to lie where they do.
"""

from collections.abc import Callable, Sequence
from typing import Literal

from edge.lower import elementwise, heads, layers, moves, pools, quantizers, trees
from edge.lower.context import Context, refuse
from edge.lower.graph import Graph, Node, element_type, read
from edge.lower.symbols import Coded, Grid, Real, Symbol, View, Whole, whole
from edge.program import Program
from firnline.errors import HandshakeError

Handler = Callable[[Context, Node], Symbol]

HANDLERS: dict[str, Handler] = {
    "QuantizeLinear": quantizers.quantize,
    "DequantizeLinear": quantizers.dequantize,
    "Gemm": layers.dense,
    "MatMul": layers.dense,
    "Conv": layers.conv,
    "Clip": elementwise.clip,
    "Less": elementwise.binary,
    "Pow": heads.power,
    "IsNaN": heads.is_nan,
    "Where": heads.where,
    "Cast": heads.cast,
    "Softmax": heads.softmax,
    "ArgMax": heads.argmax,
    "Identity": moves.passed,
    "Dropout": moves.passed,
    "Transpose": moves.transposed,
    "Gather": moves.gathered,
    "Slice": moves.sliced,
    "Split": moves.split,
    "TreeEnsembleRegressor": trees.regressor,
    "TreeEnsembleClassifier": trees.classifier,
    "Concat": moves.concat,
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze"), moves.reshaped),
    **dict.fromkeys(("MaxPool", "AveragePool"), pools.pool),
    **dict.fromkeys(("GlobalMaxPool", "GlobalAveragePool"), pools.pool),
    **dict.fromkeys(heads.REDUCTIONS, heads.reduce),
    **dict.fromkeys(elementwise.FUNCTIONS, elementwise.unary),
    **dict.fromkeys(elementwise.BINARY, elementwise.binary),
}
"""Every operator that can be lowered."""

INSTEAD = {
    "BatchNormalization": "fold it into the layer before it",
    "LayerNormalization": "normalise before the first layer, or train with BatchNormalization",
    "InstanceNormalization": "train with BatchNormalization and fold it",
    "ConvTranspose": "use Conv, after repeating elements",
    "Resize": "use Conv with a stride, or a pool",
    "Pad": "use the pads of the Conv or pool behind it",
    "LSTM": "use Conv over the window, which has no state between inferences",
    "GRU": "use Conv over the window, which has no state between inferences",
    "RNN": "use Conv over the window, which has no state between inferences",
    "PRelu": "use LeakyRelu or Relu",
    "Einsum": "use MatMul with constant weights",
    "Attention": "use Conv over the window",
    "ZipMap": "convert without it (skl2onnx: options={'zipmap': False})",
    "TreeEnsemble": "convert for opset 3 of ai.onnx.ml, which has TreeEnsembleRegressor",
}
"""What to use for operators that cannot."""


def lower(
    model: bytes,
    name: str,
    outputs: Sequence[str] | None = None,
    io: Literal["int8", "float32"] = "float32",
) -> Program:
    """Lower a quantised ONNX graph.

    Inputs and outputs keep their names, their order and the graph's layout, [channels, width] for
    a series: the program transposes where its images have channels last.

    Args:
        model: Quantize-dequantize ONNX; what is not quantised is computed in float32.
        name: Of the program, a C identifier.
        outputs: Names of the outputs to keep, in order; None for all.
        io: With int8, an input that is only quantised comes quantised already, and an output that
            is dequantised is given as int8.

    Raises:
        HandshakeError: E20, an operator or a use of it cannot be lowered; E21, a quantisation is
            none that integer layers have; E22, shapes are not static; E23, the model cannot be
            read; E24, there is no such output; E26, an accumulator can leave int32;
            E70, E71, trees that have no table, or are broken.
    """
    graph = read(model)
    wanted = tuple(outputs) if outputs is not None else graph.outputs
    if unknown := [output for output in wanted if output not in graph.outputs]:
        raise HandshakeError(
            "E24",
            found=f"no output {', '.join(unknown)}",
            where="the ONNX model",
            mend=f"choose from {', '.join(graph.outputs)}",
        )
    needed = _needed(graph, wanted)
    # First of all, as an operator that is foreign here can also have shapes that are.
    for node in needed:
        if node.operator not in HANDLERS:
            best = "use one of " + ", ".join(sorted(HANDLERS))
            refuse(node, "this operator is not supported", INSTEAD.get(node.operator, best))
    context = Context(graph)
    _inputs(context, io)
    for node in needed:
        context.symbols[node.outputs[0]] = HANDLERS[node.operator](context, node)
    views = {output: _output(context, output, io) for output in wanted}
    return context.builder.program(name, graph.inputs, views)


def _inputs(context: Context, io: str) -> None:
    """The graph's inputs as values of the program."""
    graph, builder = context.graph, context.builder
    for name, kind in graph.inputs.items():
        shape = graph.shape(name)
        readers = graph.readers(name)
        type_ = element_type(kind)
        if type_ == "INT8" or (io == "int8" and _one_grid(context, readers)):
            grid = _grid_of(context, name, readers)
            made = context.int8(name, shape, grid)
            context.symbols[name] = Coded(made, whole(made, shape))
        elif type_ == "FLOAT":
            made = builder.value(name, shape, "float32")
            context.symbols[name] = Real(made, whole(made, shape))
        else:
            raise HandshakeError(
                "E21",
                found=f"an input of type {type_}",
                where=f"input {name!r}",
                mend="give the graph float32 or int8 inputs",
            )


def _one_grid(context: Context, readers: list[Node]) -> bool:
    """Whether all readers quantise, and to the same."""
    if not readers or any(node.operator != "QuantizeLinear" for node in readers):
        return False
    return len({quantizers.grid_of(context, node) for node in readers}) == 1


def _grid_of(context: Context, name: str, readers: list[Node]) -> Grid:
    """How an int8 input holds its real numbers: as its first QuantizeLinear or its inverse says."""
    for node in readers:
        if node.operator in ("QuantizeLinear", "DequantizeLinear"):
            return quantizers.grid_of(context, node)
    raise HandshakeError(
        "E21",
        found="an int8 input that nothing dequantises",
        where=f"input {name!r}",
        mend="put a DequantizeLinear behind it",
    )


def _needed(graph: Graph, wanted: tuple[str, ...]) -> list[Node]:
    """The nodes that outputs depend on."""
    names, kept = set(wanted), []
    for node in reversed(graph.nodes):
        if names & set(node.outputs):
            names.update(node.inputs)
            kept.append(node)
    return kept[::-1]


def _output(context: Context, name: str, io: str) -> View:
    symbol = context.symbols[name]
    if isinstance(symbol, Coded):
        # Moved as int8, a quarter of the bytes.
        symbol = Coded(context.builder.standard(symbol), whole(name, symbol.shape))
        if _as_int8(context, name, io):
            return symbol
    return symbol if isinstance(symbol, Whole) else context.builder.real(symbol, name)


def _as_int8(context: Context, name: str, io: str) -> bool:
    """Whether an output that int8 holds is int8: asked for, or int8 in the graph itself."""
    makers = [node for node in context.graph.nodes if name in node.outputs]
    return io == "int8" or bool(makers and makers[0].operator == "QuantizeLinear")
