"""C for operations on int8 and for what only moves data, one function a class of operation."""

from collections.abc import Sequence

import numpy as np

from edge.mcu.emit import emit
from edge.mcu.emit_requant import emit as emit_requant
from edge.mcu.emit_shape import leading, steps, walk, window
from edge.mcu.emit_text import array, number, record
from edge.mcu.kernels import Emitted, Operand
from edge.program import (
    BYTES,
    Add,
    ArgMax,
    AveragePool,
    Concat,
    Dequantize,
    FloatConcat,
    MaxPool,
    Quantize,
    Softmax,
    Table,
    Transpose,
)


@emit.register
def quantize(step: Quantize, prefix: str, inputs: Sequence[Operand], y: Operand) -> Emitted:
    """float32 to int8."""
    (x,) = inputs
    how = f"{number(np.float32(y.value.scale))}, {y.value.zero}, {step.low}, {step.high}"
    call = f"firnline_quantize({how}, {y.value.size}u, {x.expression}, {y.expression});"
    return Emitted("", call, ("firnline_quantize.h",))


@emit.register
def dequantize(step: Dequantize, prefix: str, inputs: Sequence[Operand], y: Operand) -> Emitted:
    """int8 to float32."""
    (x,) = inputs
    how = f"{number(np.float32(x.value.scale))}, {x.value.zero}, {y.value.size}u"
    call = f"firnline_dequantize({how}, {x.expression}, {y.expression});"
    return Emitted("", call, ("firnline_quantize.h",))


@emit.register
def max_pool(step: MaxPool, prefix: str, inputs: Sequence[Operand], y: Operand) -> Emitted:
    """Greatest element of every window."""
    (x,) = inputs
    data = _window(prefix, step, x, y)
    call = f"firnline_max_pool(&{prefix}_window, {x.expression}, {y.expression});"
    return Emitted(data, call, ("firnline_portable_pool.h",))


@emit.register
def average_pool(step: AveragePool, prefix: str, inputs: Sequence[Operand], y: Operand) -> Emitted:
    """Mean of every window."""
    (x,) = inputs
    data = _window(prefix, step, x, y)
    both = f"{int(step.count_pad)}, {x.expression}, {y.expression}"
    if step.requant is not None:
        defined, how = emit_requant(prefix, step.requant)
        call = f"firnline_average_pool(&{prefix}_window, {how}, {x.value.zero}, {both});"
        return Emitted(data + defined, call, ("firnline_portable_pool.h",))
    fields = {
        "scale": number(np.float32(x.value.scale)),
        "zero": str(x.value.zero),
        "out_scale": number(np.float32(y.value.scale)),
        "out_zero": number(np.float32(y.value.zero)),
        "low": str(step.low),
        "high": str(step.high),
    }
    data += record("firnline_average", f"{prefix}_average", fields)
    call = f"firnline_average_pool_by_float(&{prefix}_window, &{prefix}_average, {both});"
    return Emitted(data, call, ("firnline_portable_pool.h",))


def _window(prefix: str, step: MaxPool | AveragePool, x: Operand, y: Operand) -> str:
    made = window(x.value.shape, y.value.shape, step.kernel, step.stride, (1, 1), step.pad)
    return f"static const firnline_window {prefix}_window =\n    {made};\n"


@emit.register
def add(step: Add, prefix: str, inputs: Sequence[Operand], y: Operand) -> Emitted:
    """Sum of two values."""
    a, b = inputs
    if step.factors is not None:
        kind = ""
        fields = {
            "left": str(step.factors.left),
            "right": str(step.factors.right),
            "offset": str(step.factors.offset),
            "shift": f"{step.factors.shift}u",
        }
    else:
        kind = "_by_float"
        fields = {
            "left": number(np.float32(step.left)),
            "right": number(np.float32(step.right)),
            "fixed": number(np.float32(step.fixed)),
        }
    fields |= {"low": str(step.low), "high": str(step.high)}
    data = record(f"firnline_add{kind}", f"{prefix}_add", fields)
    arguments = f"{y.value.size}u, {a.expression}, {b.expression}, {y.expression}"
    call = f"firnline_add_int8{kind}(&{prefix}_add, {arguments});"
    return Emitted(data, call, ("firnline_portable_elementwise.h",))


@emit.register
def table(step: Table, prefix: str, inputs: Sequence[Operand], y: Operand) -> Emitted:
    """Element by element through 256 results."""
    (x,) = inputs
    call = f"firnline_table({prefix}_table, {y.value.size}u, {x.expression}, {y.expression});"
    return Emitted(array(f"{prefix}_table", step.table), call, ("firnline_portable_elementwise.h",))


@emit.register
def concat(step: Concat, prefix: str, inputs: Sequence[Operand], y: Operand) -> Emitted:
    """int8 values side by side, each through its table where it has one."""
    return _side_by_side(prefix, step.axis, step.tables, inputs, y)


@emit.register
def float_concat(step: FloatConcat, prefix: str, inputs: Sequence[Operand], y: Operand) -> Emitted:
    """float32 values side by side."""
    return _side_by_side(prefix, step.axis, (None,) * len(inputs), inputs, y)


def _side_by_side(
    prefix: str,
    axis: int,
    tables: Sequence[np.ndarray | None],
    inputs: Sequence[Operand],
    y: Operand,
) -> Emitted:
    each = BYTES[y.value.dtype]
    count = int(np.prod(y.value.shape[:axis], dtype=np.int64))
    stride = y.value.bytes // count
    data, calls, place = "", [], 0
    for index, (x, results) in enumerate(zip(inputs, tables, strict=True)):
        run = x.value.bytes // count
        sizes = f"{count}u, {run}u, {stride}u, {x.expression}"
        to = f"&{y.expression}[{place // each}]"
        if results is None:
            calls.append(f"firnline_concat({sizes}, {to});")
        else:
            data += array(f"{prefix}_table{index}", results)
            calls.append(f"firnline_concat_table({prefix}_table{index}, {sizes}, {to});")
        place += run
    return Emitted(data, "\n".join(calls), ("firnline_portable_move.h",))


@emit.register
def softmax(step: Softmax, prefix: str, inputs: Sequence[Operand], y: Operand) -> Emitted:
    """Softmax by a table of exponentials."""
    (x,) = inputs
    rows, width = leading(x.value.shape)
    sizes = f"{number(np.float32(step.levels))}, {y.value.zero}, {rows}u, {width}u"
    call = f"firnline_softmax_int8({prefix}_exp, {sizes}, {x.expression}, {y.expression});"
    return Emitted(array(f"{prefix}_exp", step.table), call, ("firnline_portable_softmax.h",))


@emit.register
def argmax(step: ArgMax, prefix: str, inputs: Sequence[Operand], y: Operand) -> Emitted:
    """Place of the greatest element."""
    (x,) = inputs
    rows, width = leading(x.value.shape)
    kind = "float" if x.value.dtype == "float32" else "int8"
    call = f"firnline_argmax_{kind}({rows}u, {width}u, {x.expression}, {y.expression});"
    return Emitted("", call, ("firnline_portable_softmax.h",))


@emit.register
def transpose(step: Transpose, prefix: str, inputs: Sequence[Operand], y: Operand) -> Emitted:
    """Axes in another order."""
    (x,) = inputs
    walked = [steps(x.value.shape)[axis] for axis in step.order]
    extents, (strides,) = walk(step.name, y.value.shape, [walked])
    fields = {"extent": extents, "step": strides, "bytes": f"{BYTES[y.value.dtype]}u"}
    data = record("firnline_transpose", f"{prefix}_axes", fields)
    call = f"firnline_transpose_run(&{prefix}_axes, {x.expression}, {y.expression});"
    return Emitted(data, call, ("firnline_portable_move.h",))
