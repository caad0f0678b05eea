"""Running float graphs on the calibration rows, the same way on every run."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from edge.quantize.graph import Net, model_of, part, serialised
from firnline.errors import HandshakeError

_BATCH_ROWS = 128

Floats = NDArray[np.float32]


def batches(
    net: Net, given: Mapping[str, Floats], wanted: Sequence[str]
) -> Iterator[dict[str, Floats]]:
    """Values of a graph, some rows at a time.

    Args:
        net: The graph.
        given: Values that are known, [rows, *shape].
        wanted: Values to compute.

    Yields:
        Every wanted value, [rows of the batch, *shape].

    Raises:
        HandshakeError: E11, ONNX Runtime cannot run the graph.
    """
    known = [name for name in wanted if name in given]
    made = [name for name in wanted if name not in given]
    rows = len(next(iter(given.values())))
    size = _BATCH_ROWS if net.batch else 1
    session, feeds = _session(net, list(given), made) if made else (None, [])
    for begin in range(0, rows, size):
        cut = {name: value[begin : begin + size] for name, value in given.items()}
        found = {name: cut[name] for name in known}
        if session is not None:
            feed = {name: cut[name] for name in feeds}
            found |= dict(zip(made, _run(session, made, feed), strict=True))
        yield found


def values(net: Net, given: Mapping[str, Floats], wanted: Sequence[str]) -> dict[str, Floats]:
    """Values of a graph for all rows, [rows, *shape]; for arguments see `batches`."""
    parts = list(batches(net, given, wanted))
    return {name: np.concatenate([found[name] for found in parts]) for name in wanted}


def _session(net: Net, given: list[str], made: list[str]) -> tuple[Any, list[str]]:
    cut = part(net, given, made)
    read = {name for node in cut.nodes for name in node.input}
    feeds = [name for name in given if name in read]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    # As written: fused integer kernels would saturate on some hosts, and then the same rows
    # would round the same weights differently from host to host.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    model = serialised(model_of(cut, inputs=feeds, outputs=made))
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises several unrelated kinds.
        raise _not_run(error) from error
    return session, feeds


def _run(session: Any, wanted: list[str], feed: Mapping[str, Floats]) -> list[Floats]:
    try:
        made: list[Floats] = session.run(wanted, feed)
    except Exception as error:  # As above.
        raise _not_run(error) from error
    return made


def _not_run(error: Exception) -> HandshakeError:
    return HandshakeError(
        "E11",
        found=f"ONNX Runtime does not run it: {error}",
        where="the float graph",
        mend="export the model anew, and run it in ONNX Runtime before",
    )
