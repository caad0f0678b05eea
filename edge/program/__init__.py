"""The integer program: what a quantised model computes, to the bit, whatever the chip.

A program is a list of operations on values of fixed shape, one row at a time: the batch axis is
gone, images are channels last. The arithmetic of every operation is defined here, in the docstring
of its class; `edge.reference` computes it in NumPy, and every target must give the same bytes.

Floats are IEEE 754 binary32, round to nearest even, subnormals kept, products and sums rounded
one by one (never fused), sums taken from the first element to the last.
"""

from edge.program.floating import (
    FloatBinary,
    FloatConcat,
    FloatConv,
    FloatDense,
    FloatGather,
    FloatImpute,
    FloatKind,
    FloatPool,
    FloatReduce,
    FloatSoftmax,
    FloatUnary,
    Trees,
)
from edge.program.graph import (
    Parameter,
    Program,
    bounds,
    macs,
    parameters,
)
from edge.program.integer import (
    Add,
    ArgMax,
    AveragePool,
    Concat,
    Conv,
    Dense,
    Dequantize,
    Factors,
    MaxPool,
    Quantize,
    Reshape,
    Softmax,
    Table,
    Transpose,
)
from edge.program.values import (
    BYTES,
    DType,
    Floats,
    Int8s,
    Int32s,
    Operation,
    Requant,
    Value,
)

__all__ = [
    "BYTES",
    "Add",
    "ArgMax",
    "AveragePool",
    "Concat",
    "Conv",
    "DType",
    "Dense",
    "Dequantize",
    "Factors",
    "FloatBinary",
    "FloatConcat",
    "FloatConv",
    "FloatDense",
    "FloatGather",
    "FloatImpute",
    "FloatKind",
    "FloatPool",
    "FloatReduce",
    "FloatSoftmax",
    "FloatUnary",
    "Floats",
    "Int8s",
    "Int32s",
    "MaxPool",
    "Operation",
    "Parameter",
    "Program",
    "Quantize",
    "Requant",
    "Reshape",
    "Softmax",
    "Table",
    "Transpose",
    "Trees",
    "Value",
    "bounds",
    "macs",
    "parameters",
]
