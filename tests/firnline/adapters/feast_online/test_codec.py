from typing import Any

import numpy as np
import pytest
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from hypothesis import given
from hypothesis import strategies as st

from firnline.adapters.feast_online import keys
from firnline.adapters.feast_online.codec import FIXED, Column, Layout, layout_of, pack, unpack
from firnline.errors import HandshakeError

INT32, INT64 = st.integers(-(2**31), 2**31 - 1), st.integers(-(2**63), 2**63 - 1)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "double": st.floats(allow_nan=False),
    "float": st.floats(allow_nan=False, width=32),
    "int64": INT64,
    "int32": INT32,
    "bool": st.booleans(),
    "time": INT64,
    "text": st.text(),
    "bytes": st.binary(),
    "value": st.binary(),
}


def column(kind: str, values: list[Any]) -> Column:
    valid = np.array([value is not None for value in values], np.bool_)
    if kind in FIXED:
        return Column(np.array([value or 0 for value in values], FIXED[kind]), valid)
    texts = [b"" if value is None else value for value in values]
    return Column([text.encode() if isinstance(text, str) else text for text in texts], valid)


@st.composite
def tables(draw: st.DrawFn) -> tuple[Layout, dict[str, list[Any]], int]:
    kinds = draw(st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=20))
    rows = draw(st.integers(1, 6))
    fields = tuple((f"f{place}", kind) for place, kind in enumerate(kinds))
    values = {
        name: draw(st.lists(st.none() | VALUES[kind], min_size=rows, max_size=rows))
        for name, kind in fields
    }
    return Layout("digest", fields), values, rows


@given(tables())
def test_what_is_packed_comes_back(case: tuple[Layout, dict[str, list[Any]], int]) -> None:
    layout, values, rows = case
    packed = pack(layout, {name: column(kind, values[name]) for name, kind in layout.fields}, rows)
    back = unpack(layout, packed, [name for name, _ in reversed(layout.fields)])
    assert {name: back[name].tolist(layout.kinds[name]) for name in values} == values


@given(st.lists(st.tuples(st.text(), INT64, INT32), min_size=1, max_size=5))
def test_keys_are_those_of_feast(rows: list[tuple[str, int, int]]) -> None:
    texts, longs, ints = zip(*rows, strict=True)
    ours = keys.encode({"zone": ("int64", longs), "device": ("text", texts), "n": ("int32", ints)})
    theirs = [
        serialize_entity_key(
            EntityKey(
                join_keys=["zone", "device", "n"],
                entity_values=[Value(int64_val=b), Value(string_val=a), Value(int32_val=c)],
            )
        )
        for a, b, c in rows
    ]
    assert ours == theirs
    alone = [
        serialize_entity_key(EntityKey(join_keys=["d"], entity_values=[Value(string_val=text)]))
        for text in texts
    ]
    assert keys.encode({"d": ("text", texts)}) == alone


def test_a_key_without_a_value_is_refused() -> None:
    with pytest.raises(HandshakeError, match=r"\[N5\].*device_id"):
        keys.encode({"device_id": ("text", ["a", None])})


@pytest.mark.parametrize("kinds", [("double", "int32"), ("double", "text")])
def test_bytes_of_another_length_are_refused(kinds: tuple[str, ...]) -> None:
    layout = Layout("", tuple((kind, kind) for kind in kinds))
    (row,) = pack(layout, {kind: column(kind, [None]) for kind in kinds}, 1)
    for damaged in (row[:-1], row + b"x", b""):
        with pytest.raises(HandshakeError, match=r"\[N3\]"):
            unpack(layout, [row, damaged], kinds)


def test_a_layout_is_known_by_its_content() -> None:
    layout = Layout("d", (("a", "double"), ("b", "text")))
    assert layout_of(layout.id, layout.text) == layout
    assert layout.id != Layout("d", (("b", "text"), ("a", "double"))).id
    assert layout.id != Layout("e", layout.fields).id
    for text in (layout.text.replace("double", "int64"), layout.text[:-1], "[]", "{}"):
        with pytest.raises(HandshakeError, match=r"\[N3\]"):
            layout_of(layout.id, text)
