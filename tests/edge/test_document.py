"""A program's record and digest."""

import json
from dataclasses import replace

import numpy as np

from edge.document import digest, document
from edge.program import Add, Concat, Dense, Factors, Program, Requant, Value


def program(weight=3):
    requant = Requant(
        *(np.array([0.01], np.float32), np.array([5], np.int32), np.array([40], np.uint8)),
        *(np.array([True]), 0),
    )
    weights = np.full((2, 4), weight, np.int8)
    table = np.arange(-128, 128).astype(np.int8)
    return Program(
        "net",
        ("x",),
        ("z",),
        {
            "x": Value("x", (4,), "int8", 0.1, 0),
            "y": Value("y", (2,), "int8", 0.1, 0),
            "s": Value("s", (2,), "int8", 0.1, 0),
            "z": Value("z", (4,), "int8", 0.1, 0),
        },
        (
            Dense("d", ("x",), "y", weights, np.zeros(2, np.int32), requant),
            Add("a", ("y", "y"), "s", 1.0, 1.0, 0.0, factors=Factors(2, 2, 1, 1)),
            Concat("c", ("y", "s"), "z", 0, (None, table)),
        ),
    )


def test_a_record_is_json_and_counts():
    record = document(program())
    assert json.loads(json.dumps(record)) == record
    assert record["macs"] == 8 and record["parameter_bytes"] == 8 + 8 + 10 + 256
    dense, add, concat = record["operations"]
    assert dense["parameters"]["weights"]["shape"] == [2, 4] and dense["low"] == -128
    assert add["factors"] == {"left": 2, "right": 2, "offset": 1, "shift": 1}
    assert list(concat["parameters"]) == ["tables.1"]


def test_a_digest_is_of_all_and_of_nothing_else():
    whole = program()
    assert digest(whole) == digest(program())
    concat = whole.operations[2]
    other_table = replace(concat, tables=(None, -concat.tables[1]))
    others = [
        program(weight=4),
        replace(whole, operations=(*whole.operations[:2], other_table)),
        replace(whole, outputs=("s",)),
        replace(whole, values={**whole.values, "x": Value("x", (4,), "int8", 0.2, 0)}),
    ]
    assert len({digest(item) for item in (whole, *others)}) == 5
    step = whole.operations[0]
    turned = replace(step, weights=np.asfortranarray(step.weights))
    assert digest(replace(whole, operations=(turned, *whole.operations[1:]))) == digest(whole)
