"""Float ONNX graphs by hand: a stage's graph, the merged ensemble, and a way to run either.

Opset 17, the default domain alone (but for trees, which `ai.onnx.ml` has), a fixed IR version, no
producer, no documentation and no dates: equal weights give equal bytes. Linear maps that belong to
preprocessing are `MatMul`s under the name `preprocess`, which quantisation leaves in float; layers
are `Gemm`s.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from firnline.errors import HandshakeError

OPSET = 17
TREES_DOMAIN, TREES_OPSET = "ai.onnx.ml", 3
IR_VERSION = 8
FLOAT, INT64 = int(TensorProto.FLOAT), int(TensorProto.INT64)
ROWS = "rows"
PREPROCESS = "preprocess"

FloatArray = NDArray[np.float32]


class Graph:
    """Builds a graph node by node; methods return the name of the [rows, width] value they make."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._nodes: list[Any] = []
        self._constants: dict[str, NDArray[Any]] = {}
        self._inputs: list[tuple[str, int]] = []
        self._outputs: list[tuple[str, int, int]] = []
        self._renamed: dict[str, str] = {}

    def input(self, name: str, width: int) -> str:
        """An input [rows, width]."""
        self._inputs.append((name, width))
        return name

    def output(self, name: str, value: str, width: int, kind: int = FLOAT) -> None:
        """Make a value a declared output, under its name; a value can be one output only."""
        self._outputs.append((name, width, kind))
        self._renamed[value] = name

    def impute(self, value: str, fill: FloatArray) -> str:
        """Put `fill` [width] where a value is NaN."""
        return self.node("Where", self.node("IsNaN", value), self.constant(fill[None]), value)

    def columns(self, value: str, places: Sequence[int]) -> str:
        """The columns at `places`, in that order."""
        return self.node("Gather", value, self.constant(np.array(places)), axis=1)

    def standardise(self, value: str, centre: FloatArray, scale: FloatArray) -> str:
        """(value - centre) / scale, both [width]; the division is done as a product."""
        shifted = self.node("Sub", value, self.constant(centre[None]))
        return self.node("Mul", shifted, self.constant(inverse(scale)[None]))

    def clip(self, value: str, low: float, high: float) -> str:
        """Each element kept within [low, high]."""
        bounds = (self.constant(np.array(bound, np.float32)) for bound in (low, high))
        return self.node("Clip", value, *bounds)

    def project(self, value: str, weights: FloatArray) -> str:
        """Value @ weights [width, out]: a linear map of the preprocessing, never quantised."""
        return self.node("MatMul", value, self.constant(weights), kind=PREPROCESS)

    def layer(self, value: str, weights: FloatArray, bias: FloatArray) -> str:
        """Value @ weights.T + bias, for weights [out, width]: a layer that may be quantised."""
        return self.node(
            "Gemm", value, self.constant(weights), self.constant(bias), transB=1, kind="layer"
        )

    def relu(self, value: str) -> str:
        """max(value, 0)."""
        return self.node("Relu", value)

    def sigmoid(self, value: str) -> str:
        """1 / (1 + exp(-value))."""
        return self.node("Sigmoid", value)

    def softmax(self, value: str) -> str:
        """Softmax over each row."""
        return self.node("Softmax", value, axis=1)

    def sum_squares(self, value: str) -> str:
        """Sum of squares of each row, [rows, 1]."""
        square = self.node("Mul", value, value)
        return self.node("ReduceSum", square, self.constant(np.array([1])), keepdims=1)

    def percentile(self, value: str, knots: FloatArray, levels: FloatArray) -> str:
        """Piecewise linear map of [rows, 1] through (knots, levels); flat beyond the ends.

        Each segment adds its rise times how far the value has come through it, so the result
        never leaves [levels[0], levels[-1]] and needs no comparison.
        """
        spread = self.node("Sub", value, self.constant(knots[None, :-1]))
        spread = self.node("Mul", spread, self.constant(inverse(np.diff(knots))[None]))
        risen = self.node("Mul", self.clip(spread, 0.0, 1.0), self.constant(np.diff(levels)[None]))
        total = self.node("ReduceSum", risen, self.constant(np.array([1])), keepdims=1)
        low, high = float(levels[0]), float(levels[-1])
        return self.clip(self.node("Add", total, self.constant(levels[:1])), low, high)

    def trees(self, value: str, outputs: int, **attributes: Any) -> str:
        """Sum of the leaves that each row reaches, [rows, outputs]: a TreeEnsembleRegressor.

        Args:
            value: Input [rows, columns].
            outputs: Numbers a leaf holds.
            **attributes: `nodes_*` and `target_*` of the operator.
        """
        how = {"domain": TREES_DOMAIN, "n_targets": outputs}
        return self.node("TreeEnsembleRegressor", value, kind="trees", **how, **attributes)

    def argmax(self, value: str) -> str:
        """Place of each row's greatest element, the first of equal ones, int64 [rows, 1]."""
        return self.node("ArgMax", value, axis=1, keepdims=1)

    def concat(self, *values: str) -> str:
        """Values side by side."""
        return self.node("Concat", *values, axis=1)

    def bytes(self) -> bytes:
        """The checked graph, serialised; equal graphs give equal bytes."""
        for node in self._nodes:
            node.input[:] = [self._renamed.get(name, name) for name in node.input]
            node.output[:] = [self._renamed.get(name, name) for name in node.output]
        graph = helper.make_graph(
            self._nodes,
            self._name,
            [matrix_info(name, width) for name, width in self._inputs],
            [matrix_info(name, width, kind) for name, width, kind in self._outputs],
            [numpy_helper.from_array(value, name) for name, value in self._constants.items()],
        )
        return serialise(graph)

    def node(self, operator: str, *values: str, kind: str = "", **attributes: Any) -> str:
        """Any ONNX operator with one output; `kind` names the node after what it is for."""
        made = f"{kind or operator.lower()}/{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, values, [made], name=made, **attributes))
        return made

    def constant(self, value: NDArray[Any]) -> str:
        """A constant: whole numbers as int64, all else as float32."""
        name = f"constant/{len(self._constants)}"
        kind = np.int64 if np.issubdtype(value.dtype, np.integer) else np.float32
        self._constants[name] = np.array(value, dtype=kind)
        return name


@dataclass(frozen=True)
class StageGraph:
    """One stage as `merge` takes it.

    Attributes:
        name: The stage's name.
        model: Its ONNX.
        columns: Columns of its `features` input, in order.
        outputs: Name and width of its declared outputs, in order.
    """

    name: str
    model: bytes
    columns: tuple[str, ...]
    outputs: tuple[tuple[str, int], ...]


def merge(stages: Sequence[StageGraph]) -> bytes:
    """Join stages into one graph: `features` [rows, columns] in, `<stage>.<output>` out.

    The input's columns are those of `union_columns`; each stage takes its own from them.

    Args:
        stages: In manifest order, so that every stage follows what it reads.

    Raises:
        HandshakeError: M9, a stage's graph is not what `models.recipe.Fitted` asks for.
    """
    union = union_columns(stages)
    nodes: list[Any] = []
    constants: list[Any] = []
    produced: list[tuple[str, int]] = []
    for stage in stages:
        graph = _checked(stage, tuple(name for name, _ in produced))
        prefix = f"{stage.name}/"
        known = {name: f"{stage.name}.{name}" for name, _ in stage.outputs}
        known |= {name: name for name, _ in produced}
        if stage.columns == union:
            known["features"] = "features"
        elif any(value.name == "features" for value in graph.input):
            places = np.asarray([union.index(column) for column in stage.columns], np.int64)
            constants.append(numpy_helper.from_array(places, f"{prefix}columns"))
            given, made = ["features", f"{prefix}columns"], [f"{prefix}features"]
            name = f"{prefix}{PREPROCESS}/columns"
            nodes.append(helper.make_node("Gather", given, made, name=name, axis=1))
        _rename(graph, prefix, known)
        nodes.extend(graph.node)
        constants.extend(graph.initializer)
        produced += [(f"{stage.name}.{name}", width) for name, width in stage.outputs]
    merged = helper.make_graph(
        nodes,
        "ensemble",
        [matrix_info("features", len(union))],
        [matrix_info(name, width) for name, width in produced],
        constants,
    )
    return serialise(merged)


def union_columns(stages: Sequence[StageGraph]) -> tuple[str, ...]:
    """Columns of all stages, each once, in the order of first use."""
    return tuple(dict.fromkeys(column for stage in stages for column in stage.columns))


def run(model: bytes, inputs: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
    """Outputs of a graph by name, computed on one thread.

    Args:
        model: ONNX bytes.
        inputs: Input name -> [rows, width]; inputs the graph does not have are left out.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    wanted = {given.name for given in session.get_inputs()}
    feed = {name: value.astype(np.float32) for name, value in inputs.items() if name in wanted}
    names = [made.name for made in session.get_outputs()]
    return dict(zip(names, session.run(names, feed), strict=True))


def input_names(model: bytes) -> tuple[str, ...]:
    """Names of what a graph asks for, constants aside."""
    graph = onnx.load_from_string(model).graph
    constants = {constant.name for constant in graph.initializer}
    return tuple(given.name for given in graph.input if given.name not in constants)


def proto(model: bytes) -> Any:
    """The graph as an ONNX ModelProto, for tools that take nothing else."""
    return onnx.load_from_string(model)


def inverse(scale: FloatArray) -> FloatArray:
    """1 / scale in float32, as the graph holds it."""
    return (np.float32(1) / scale.astype(np.float32)).astype(np.float32)


def matrix_info(name: str, width: int, kind: int = FLOAT) -> Any:
    """The type of a value: [rows, width] of float32, or of another element type of ONNX."""
    return helper.make_tensor_value_info(name, kind, [ROWS, width])


def serialise(graph: Any) -> bytes:
    """Wrap a graph in a model, check it in full, and give its bytes."""
    opsets = [helper.make_opsetid("", OPSET)]
    if any(node.domain == TREES_DOMAIN for node in graph.node):
        opsets.append(helper.make_opsetid(TREES_DOMAIN, TREES_OPSET))
    model = helper.make_model(
        graph,
        opset_imports=opsets,
        ir_version=IR_VERSION,
        producer_name="",
    )
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def _checked(stage: StageGraph, upstream: tuple[str, ...]) -> Any:
    """The stage's graph, once it keeps the rules of `models.recipe.Fitted.to_onnx`."""
    try:
        model = onnx.load_from_string(stage.model)
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:  # onnx raises several unrelated kinds here.
        raise _broken(stage, f"not a valid ONNX model: {error}") from error
    breaches = []
    opsets = {(item.domain or "", item.version) for item in model.opset_import}
    if opsets != {("", OPSET)}:
        breaches.append(f"opsets {sorted(opsets)}, not the default domain's {OPSET} alone")
    given = {value.name: _shape(value) for value in model.graph.input}
    unknown = sorted(set(given) - {"features", *upstream})
    if unknown:
        breaches.append(f"inputs {', '.join(unknown)} are no upstream output")
    if "features" in given and given["features"][-1] != len(stage.columns):
        breaches.append(f"features has shape {given['features']}, not [rows, {len(stage.columns)}]")
    made = {value.name: _shape(value) for value in model.graph.output}
    for name, width in stage.outputs:
        if (found := made.get(name, "missing"))[1:] != (width,):
            breaches.append(f"output {name} is {found}, not [rows, {width}]")
    if breaches:
        raise _broken(stage, "; ".join(breaches))
    return model.graph


def _shape(value: Any) -> tuple[str | int, ...]:
    return tuple(dim.dim_value or dim.dim_param for dim in value.type.tensor_type.shape.dim)


def _broken(stage: StageGraph, found: str) -> HandshakeError:
    mend = "return the graph that models.recipe.Fitted.to_onnx describes"
    return HandshakeError("M9", found=found, where=f"to_onnx() of stage {stage.name!r}", mend=mend)


def _rename(graph: Any, prefix: str, known: Mapping[str, str]) -> None:
    """Give every value and node a name of the stage's own, inside subgraphs too."""

    def renamed(name: str) -> str:
        return known.get(name, f"{prefix}{name}") if name else name

    for constant in graph.initializer:
        constant.name = renamed(constant.name)
    for place, node in enumerate(graph.node):
        node.name = f"{prefix}{node.name or place}"
        node.input[:] = [renamed(name) for name in node.input]
        node.output[:] = [renamed(name) for name in node.output]
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                for value in (*inner.input, *inner.output):
                    value.name = renamed(value.name)
                _rename(inner, prefix, known)
