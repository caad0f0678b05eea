"""Runs under the NPU tools' own Python: serialises plans, runs models. Files in, files out.

It imports nothing of firnline, which is not installed there; `edge.npu.process` starts it.
"""

import configparser
import importlib
import importlib.metadata
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

Step = Mapping[str, Any]


def _module(name: str) -> Any:
    """A tool, imported when a step needs it; none of them ships types."""
    return importlib.import_module(name)


def _versions(step: Step) -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in step["packages"]}


def _write_tosa(step: Step) -> dict[str, Any]:
    """A plan as a TOSA 1.0 flatbuffer, constants inside; the names it gave to our tensors."""
    tosa = _module("tosa_serializer")
    plan, held = _plan(step)
    made = tosa.TosaSerializer("", tosa.ConstMode.EMBED, 1, 0, 0, False)
    names = {
        tensor["name"]: _tosa_tensor(tosa, made, plan, held, tensor) for tensor in plan["tensors"]
    }
    for node in plan["nodes"]:
        attribute = tosa.TosaSerializerAttribute()
        maker = "".join(word.capitalize() for word in node["kind"].split("_")) + "Attribute"
        getattr(attribute, maker)(*(_enumerated(tosa, value) for value in node["options"]))
        inputs, outputs = ([names[name] for name in node[end]] for end in ("inputs", "outputs"))
        made.addOperator(getattr(tosa.Op, node["kind"]), inputs, outputs, attribute)
    Path(step["to"]).write_bytes(bytes(made.serialize()))
    return {"names": names}


def _tosa_tensor(tosa: Any, made: Any, plan: Step, held: Step, tensor: Step) -> str:
    name, shape, data = tensor["name"], tensor["shape"], tensor["data"]
    kind = getattr(tosa.DType, tensor["dtype"].upper())
    if data is not None:
        # A list of sizes is no tensor: its own length stands where a shape would.
        place = made.addConst(
            [len(held[data])] if tensor["dtype"] == "shape" else shape, kind, held[data]
        )
    elif name in plan["inputs"]:
        place = tosa.TosaSerializerTensor(name, shape, kind, None)
        made.addInputTensor(place)
    else:
        place = made.addIntermediate(shape, kind)
    if name in plan["outputs"]:
        made.addOutputTensor(place)
    return str(place.name)


def _enumerated(tool: Any, value: Any) -> Any:
    """`DType.INT32` as the tool's own constant; anything else as it is."""
    if not isinstance(value, str):
        return value
    family, _, name = value.partition(".")
    return getattr(getattr(tool, family), name)


def _run_tosa(step: Step) -> dict[str, int]:
    """Every row through the TOSA reference model."""
    reference = _module("tosa_reference_model")
    content = Path(step["model"]).read_bytes()
    rows = _rows(step)
    made: list[list[Any]] = []
    for place in range(len(rows[0])):
        given = [np.ascontiguousarray(row[place : place + 1]) for row in rows]
        outputs, status = reference.run(content, given, tosa_level="EIGHTK")
        if status != reference.GraphStatus.TOSA_VALID:
            raise RuntimeError(f"the reference model answers {status.name} at row {place}")
        made.append([np.asarray(output).reshape(-1).view(np.int8) for output in outputs])
    _save(step, made)
    return {"rows": len(made)}


def _write_tflite(step: Step) -> dict[str, Any]:
    """A plan as a TFLite flatbuffer."""
    schema, flatbuffers = _module("ai_edge_litert.schema_py_generated"), _module("flatbuffers")
    plan, held = _plan(step)
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.subgraphs, model.description = 3, [graph], b""
    # The first buffer is empty by the format's rule; what has no elements points to it.
    model.buffers, model.operatorCodes = [schema.BufferT()], []
    graph.tensors = [_tflite_tensor(schema, model, held, tensor) for tensor in plan["tensors"]]
    places = {tensor["name"]: place for place, tensor in enumerate(plan["tensors"])}
    graph.inputs = [places[name] for name in plan["inputs"]]
    graph.outputs = [places[name] for name in plan["outputs"]]
    codes: dict[tuple[str, int], int] = {}
    graph.operators = []
    for node in plan["nodes"]:
        code = codes.setdefault((node["kind"], node["version"]), len(codes))
        graph.operators.append(_tflite_operator(schema, node, code, places))
    model.operatorCodes = [_tflite_code(schema, *code) for code in codes]
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), b"TFL3")
    Path(step["to"]).write_bytes(bytes(builder.Output()))
    return {"names": {name: name for name in places}}


def _tflite_tensor(schema: Any, model: Any, held: Step, tensor: Step) -> Any:
    made = schema.TensorT()
    made.name, made.shape, made.buffer = tensor["name"].encode(), tensor["shape"], 0
    made.type = getattr(schema.TensorType, tensor["dtype"].upper())
    if tensor["data"] is not None:
        buffer = schema.BufferT()
        content = np.ascontiguousarray(held[tensor["data"]]).tobytes()
        buffer.data = np.frombuffer(content, np.uint8)
        model.buffers.append(buffer)
        made.buffer = len(model.buffers) - 1
    if tensor["scale"]:
        how = schema.QuantizationParametersT()
        how.scale = np.array(tensor["scale"], np.float32)
        how.zeroPoint = np.full(len(how.scale), tensor["zero"], np.int64)
        how.quantizedDimension = tensor["axis"]
        made.quantization = how
    return made


def _tflite_operator(schema: Any, node: Step, code: int, places: Mapping[str, int]) -> Any:
    made = schema.OperatorT()
    made.opcodeIndex = code
    made.inputs, made.outputs = (
        [places[name] for name in node[end]] for end in ("inputs", "outputs")
    )
    options = dict(node["options"])
    table = options.pop("table", None)
    if table is not None:
        made.builtinOptionsType = getattr(schema.BuiltinOptions, table)
        made.builtinOptions = getattr(schema, f"{table}T")()
        for name, value in options.items():
            setattr(made.builtinOptions, name, _enumerated(schema, value))
    return made


def _tflite_code(schema: Any, kind: str, version: int) -> Any:
    made = schema.OperatorCodeT()
    made.builtinCode, made.version = getattr(schema.BuiltinOperator, kind), version
    made.deprecatedBuiltinCode = min(made.builtinCode, 127)  # the field that old readers know
    return made


def _run_tflite(step: Step) -> dict[str, int]:
    """Every row through LiteRT, with XNNPACK or with the reference kernels."""
    litert = _module("ai_edge_litert.interpreter")
    kinds = litert.OpResolverType
    resolver = kinds.BUILTIN_REF if step["kernels"] == "reference" else kinds.AUTO
    runner = litert.Interpreter(
        step["model"], experimental_op_resolver_type=resolver, num_threads=1
    )
    runner.allocate_tensors()
    # LiteRT lists them in the order of the graph; names may repeat after a delegate's changes.
    inputs = [item["index"] for item in runner.get_input_details()]
    outputs = [item["index"] for item in runner.get_output_details()]
    rows = _rows(step)
    made: list[list[Any]] = []
    for place in range(len(rows[0])):
        for index, row in zip(inputs, rows, strict=True):
            runner.set_tensor(index, np.ascontiguousarray(row[place : place + 1]))
        runner.invoke()
        made.append([runner.get_tensor(index).reshape(-1).copy() for index in outputs])
    _save(step, made)
    return {"rows": len(made)}


def _vela_configurations(step: Step) -> dict[str, list[str]]:
    """System configurations and memory modes that a Vela .ini names."""
    parsed = configparser.ConfigParser()
    path = step["config"] or Path(_module("ethosu").__path__[0]) / "config_files/Arm/vela.ini"
    parsed.read_string(Path(path).read_text(encoding="utf-8"))
    found: dict[str, list[str]] = {"System_Config": [], "Memory_Mode": []}
    for section in parsed.sections():
        family, _, name = section.partition(".")
        found.setdefault(family, []).append(name)
    return found


def _tflite_operators(step: Step) -> list[dict[str, str]]:
    """Operators of a compiled .tflite: what Vela left for the processor, and its own."""
    schema = _module("ai_edge_litert.schema_py_generated")
    model = schema.ModelT.InitFromPackedBuf(Path(step["model"]).read_bytes(), 0)
    kinds = {value: name for name, value in vars(schema.BuiltinOperator).items() if name[0] != "_"}
    found = []
    for operator in model.subgraphs[0].operators:
        code = model.operatorCodes[operator.opcodeIndex]
        kind = (code.customCode or b"").decode() or kinds[code.builtinCode]
        made = model.subgraphs[0].tensors[operator.outputs[0]].name.decode()
        found.append({"kind": kind, "output": made})
    return found


def _plan(step: Step) -> tuple[dict[str, Any], Mapping[str, Any]]:
    with np.load(step["constants"], allow_pickle=False) as held:
        return json.loads(Path(step["plan"]).read_text(encoding="utf-8")), dict(held)


def _rows(step: Step) -> list[Any]:
    """Inputs in order, [rows, 1, ...] cut to the graph's shape."""
    with np.load(step["inputs"], allow_pickle=False) as held:
        return [held[f"i{place}"] for place in range(len(held.files))]


def _save(step: Step, made: list[list[Any]]) -> None:
    columns = {
        f"o{place}": np.stack(column) for place, column in enumerate(zip(*made, strict=True))
    }
    np.savez(step["to"], **columns)  # type: ignore[arg-type]


_STEPS: dict[str, Callable[[Step], Any]] = {
    "versions": _versions,
    "write-tosa": _write_tosa,
    "run-tosa": _run_tosa,
    "write-tflite": _write_tflite,
    "run-tflite": _run_tflite,
    "tflite-operators": _tflite_operators,
    "vela-configurations": _vela_configurations,
}


def main(request: Path, answer: Path, known: Mapping[str, Callable[[Step], Any]]) -> int:
    """Do the steps of a request in order; their results go to `answer`, a complaint to stderr."""
    results = []
    for step in json.loads(request.read_text(encoding="utf-8")):
        try:
            results.append(known[step["do"]](step))
        except Exception as error:  # a tool may raise anything; its message is for a person
            print(f"{step['do']}: {type(error).__name__}: {error}", file=sys.stderr)
            return 1
    answer.write_text(json.dumps(results), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), _STEPS))
