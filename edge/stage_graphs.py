"""An int8 graph split into one graph a stage, so that a device pulls only the stage that changed.

The chain of them computes what the whole graph computes, byte for byte, or the whole stays whole.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from edge.chain import Link, Values, run
from edge.verify import MODEL, int8_file
from firnline.contracts.handshake import FEATURES_INPUT

FloatMatrix = NDArray[np.float32]


@dataclass(frozen=True)
class Chain:
    """The graphs that run, in order.

    Attributes:
        links: As a manifest's `run` names them.
        graphs: File -> bytes.
        note: Why the graph stays whole; empty where it was split.
    """

    links: tuple[Link, ...]
    graphs: Mapping[str, bytes]
    note: str = ""


def chain(model: bytes, stages: Sequence[str], deciding: str, rows: FloatMatrix) -> Chain:
    """Split an int8 graph by stage, where the chain then gives every byte that the whole gives.

    Args:
        model: ONNX of `features` in, `<stage>.<output>` and the decision out.
        stages: Names, in manifest order.
        deciding: The stage whose output the decision is made of; it gives the decision too.
        rows: Shape [rows, columns]: what both are compared on.
    """
    whole = _whole(model)
    try:
        made = split(model, stages, deciding)
    except ValueError as error:
        return Chain(whole.links, whole.graphs, str(error))
    differ = _differ(run(whole.links, whole.graphs, rows), run(made.links, made.graphs, rows))
    if differ:
        told = f"split by stage, {', '.join(differ)} would differ on {len(rows):,} windows"
        return Chain(whole.links, whole.graphs, told)
    return made


def split(model: bytes, stages: Sequence[str], deciding: str) -> Chain:
    """One graph a stage: what lies between its outputs and the outputs of the stages before it.

    An output of a stage before comes in as the float it went out as. Where it was dequantised, it
    is quantised again with the same scale, which gives the same integers back: a float32 quotient
    lies within one part in 2^23 of the integer it came from. So ONNX Runtime still multiplies in
    int8.

    Args:
        model: ONNX of `features` in, `<stage>.<output>` and the decision out.
        stages: Names, in manifest order.
        deciding: The stage whose output the decision is made of.

    Raises:
        ValueError: A stage gives nothing, or an output is none of a stage's.
    """
    loaded = onnx.load_from_string(model)
    outputs = _outputs(loaded.graph, stages, deciding)
    links: list[Link] = []
    graphs: dict[str, bytes] = {}
    for place, stage in enumerate(stages):
        before = [name for earlier in stages[:place] for name in outputs[earlier]]
        part = _part(loaded, stage, outputs[stage], before)
        inputs = tuple(value.name for value in part.graph.input)
        links.append(Link(stage, int8_file(stage), inputs, outputs[stage]))
        graphs[int8_file(stage)] = bytes(part.SerializeToString(deterministic=True))
    return Chain(tuple(links), graphs)


def _outputs(
    graph: onnx.GraphProto, stages: Sequence[str], deciding: str
) -> dict[str, tuple[str, ...]]:
    """Stage -> the graph's outputs that are its own; the decision is the deciding stage's."""
    owned: dict[str, list[str]] = {stage: [] for stage in stages}
    for value in graph.output:
        stage, dot, _ = value.name.partition(".")
        owner = stage if dot else deciding
        if owner not in owned:
            raise ValueError(f"{value.name} is no stage's output")
        owned[owner].append(value.name)
    silent = [stage for stage, names in owned.items() if not names]
    if silent:
        raise ValueError(f"{', '.join(silent)} gives nothing that the graph names")
    return {stage: tuple(names) for stage, names in owned.items()}


def _part(
    model: onnx.ModelProto, stage: str, outputs: Sequence[str], before: Sequence[str]
) -> onnx.ModelProto:
    """The graph between outputs of earlier stages and those of one stage."""
    source = model.graph
    cuts = dict(_cuts(source, before))
    nodes = _reached(source, outputs, {*cuts, FEATURES_INPUT})
    taken = {name for node in nodes for name in node.input} | set(outputs)
    graph = onnx.GraphProto(name=stage)
    again = {cut.output for name, cut in cuts.items() if name in taken}
    given = {value.name: value for value in (*source.input, *source.output)}
    wanted = [FEATURES_INPUT] if FEATURES_INPUT in taken else []
    wanted += [name for name in before if name in again]
    graph.input.extend(given[name] for name in wanted)
    graph.output.extend(given[name] for name in outputs)
    renamed: dict[str, str] = {}
    for name in wanted:
        node = next((cut.node for cut in cuts.values() if cut.output == name), None)
        if node is not None:
            graph.node.extend(_requantised(node))
            renamed |= {node.input[0]: _again(name, "int8"), name: _again(name, "real")}
    graph.node.extend(_rewired(node, renamed) for node in nodes)
    used = {name for node in graph.node for name in node.input}
    graph.initializer.extend(held for held in source.initializer if held.name in used)
    return onnx.ModelProto(
        ir_version=model.ir_version,
        opset_import=model.opset_import,
        domain=model.domain,
        graph=graph,
    )


@dataclass(frozen=True)
class _Cut:
    """Where a stage's graph begins.

    Attributes:
        output: The earlier stage's output that comes in there.
        node: What dequantised it; None for an output that was never an integer.
    """

    output: str
    node: onnx.NodeProto | None


def _cuts(graph: onnx.GraphProto, before: Sequence[str]) -> Iterator[tuple[str, _Cut]]:
    """Names at which earlier stages end: their outputs, and the integers these were made of."""
    made_by = {name: node for node in graph.node for name in node.output}
    for name in before:
        node = made_by.get(name)
        if node is None or node.op_type != "DequantizeLinear" or node.input[0] not in made_by:
            yield name, _Cut(name, None)
            continue
        yield name, _Cut(name, node)
        yield node.input[0], _Cut(name, node)


def _reached(
    graph: onnx.GraphProto, outputs: Sequence[str], stop: set[str]
) -> list[onnx.NodeProto]:
    """Nodes that outputs are computed by, back to where to stop, in the graph's order."""
    made_by = {name: place for place, node in enumerate(graph.node) for name in node.output}
    found: set[int] = set()
    todo = list(outputs)
    while todo:
        name = todo.pop()
        place = None if name in stop else made_by.get(name)
        if place is not None and place not in found:
            found.add(place)
            todo.extend(graph.node[place].input)
    return [graph.node[place] for place in sorted(found)]


def _requantised(node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    """A float that was dequantised, as integers again and from these as a float."""
    name, parameters = node.output[0], list(node.input[1:])
    axis = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    for operator, take, give in (
        ("QuantizeLinear", name, _again(name, "int8")),
        ("DequantizeLinear", _again(name, "int8"), _again(name, "real")),
    ):
        yield helper.make_node(operator, [take, *parameters], [give], name=give, **axis)


def _again(name: str, kind: str) -> str:
    return f"{name}/again/{kind}"


def _rewired(node: onnx.NodeProto, renamed: Mapping[str, str]) -> onnx.NodeProto:
    made = onnx.NodeProto()
    made.CopyFrom(node)
    made.input[:] = [renamed.get(name, name) for name in node.input]
    return made


def _whole(model: bytes) -> Chain:
    graph = onnx.load_from_string(model).graph
    outputs = tuple(value.name for value in graph.output)
    return Chain((Link(graph.name, MODEL, (FEATURES_INPUT,), outputs),), {MODEL: model})


def _differ(wanted: Values, found: Values) -> list[str]:
    """Names of values that are not the same bytes."""
    return [
        name
        for name, values in wanted.items()
        if name not in found or found[name].tobytes() != values.tobytes()
    ]
