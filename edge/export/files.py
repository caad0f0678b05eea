"""A user's files: a float ONNX, and rows for it."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import onnx
from numpy.lib.format import MAGIC_PREFIX
from numpy.typing import NDArray

from firnline.errors import ContractError, HandshakeError

_GREATEST_BYTES = 2 << 30


def read_model(path: Path) -> bytes:
    """A checked ONNX of one float input.

    Raises:
        HandshakeError: E8, it is missing, is no ONNX, keeps weights in other files, or has not
            one float32 input.
    """
    try:
        _refuse_large(path)
        content = path.read_bytes()
        model = onnx.load_from_string(content)
        outside = [tensor.name for tensor in _all_tensors(model) if tensor.external_data]
        if outside:
            # A path from outside is never followed.
            raise ValueError(f"weights lie in other files: {', '.join(outside[:3])}")
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:  # onnx and protobuf raise several unrelated kinds here.
        raise _refused(f"not a readable ONNX model: {error}", path) from error
    constants = {value.name for value in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    kinds = [value.type.tensor_type.elem_type for value in inputs]
    if kinds != [onnx.TensorProto.FLOAT]:
        told = ", ".join(value.name for value in inputs) or "none"
        raise _refused(f"{len(inputs)} inputs ({told}), not one of float32", path)
    return content


def read_rows(path: Path, model: bytes) -> NDArray[np.float32]:
    """Rows for a model's input, float32 [rows, *input].

    Raises:
        ContractError: E9, the file is missing, holds Python objects, no row, an infinite value,
            or rows of another shape than the model's input.
    """
    try:
        _refuse_large(path)
        with path.open("rb") as file:
            # What is no .npy, NumPy takes for an archive or a pickle.
            if file.read(len(MAGIC_PREFIX)) != MAGIC_PREFIX:
                raise ValueError("it does not begin as one")
        rows = np.load(path, allow_pickle=False)
        if rows.dtype.kind not in "fiu":
            raise ValueError("no array of numbers")
    # A header may claim more than any memory holds.
    except (OSError, ValueError, EOFError, MemoryError) as error:
        raise _broken(f"not readable as .npy: {error}", path) from error
    shape = input_shape(model)
    fits = len(shape) == rows.ndim - 1 and all(
        wanted in (None, given) for wanted, given in zip(shape, rows.shape[1:], strict=True)
    )
    if not fits or not rows.size:
        told = ", ".join("any" if size is None else str(size) for size in shape)
        raise _broken(f"shape {list(rows.shape)}, not [rows, {told}] of at least one row", path)
    with np.errstate(over="ignore"):
        taken = np.ascontiguousarray(rows, dtype=np.float32)
    if np.isinf(taken).any():
        raise _broken("infinite values, as float32", path)
    return taken


def input_shape(model: bytes) -> tuple[int | None, ...]:
    """Shape of a model's one input, the batch left out; None where it is open."""
    graph = onnx.load_from_string(model).graph
    constants = {value.name for value in graph.initializer}
    given = next(value for value in graph.input if value.name not in constants)
    return tuple(dim.dim_value or None for dim in given.type.tensor_type.shape.dim[1:])


def _refuse_large(path: Path) -> None:
    if path.stat().st_size > _GREATEST_BYTES:
        raise ValueError(f"larger than {_GREATEST_BYTES:,} bytes")


def _all_tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Every tensor that a model holds, in its functions too."""
    yield from _tensors(model.graph)
    for function in model.functions:
        yield from _of_nodes(function.node)


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Every tensor that a graph holds, in its nodes and in their graphs too."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _of_nodes(graph.node)


def _of_nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.TensorProto]:
    for node in nodes:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for inner in (attribute.g, *attribute.graphs):
                yield from _tensors(inner)


def _refused(found: str, path: Path) -> HandshakeError:
    mend = "give a float32 ONNX of one input, opset 17 or less, weights inside the file"
    return HandshakeError("E8", found=found, where=str(path), mend=mend)


def _broken(found: str, path: Path) -> ContractError:
    mend = "save the rows with numpy.save(file, array.astype('float32'))"
    return ContractError("E9", found=found, where=str(path), mend=mend)
