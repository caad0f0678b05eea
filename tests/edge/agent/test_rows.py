import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.agent.rows import parse, refusal
from firnline.errors import DeliveryError

COLUMNS = ("a", "b", "c")


def asked(**fields: Any) -> bytes:
    return json.dumps({"row": [1, 2.5, None], **fields}).encode()


def test_a_row_is_read_by_order_or_by_name() -> None:
    end = "2026-01-01T00:15:00+00:00"
    found = parse(asked(id="r1", key="unit-1", window_end=end), COLUMNS)
    assert (found.id, found.key, found.window_end) == ("r1", "unit-1", end)
    assert found.row.dtype == np.float32
    assert found.row[:2].tolist() == [1.0, 2.5]
    assert np.isnan(found.row[2])
    named = parse(asked(row={"c": 3, "a": 1, "b": None}), COLUMNS)
    assert named.row[[0, 2]].tolist() == [1.0, 3.0]


def test_a_request_without_a_name_gets_one_of_its_own() -> None:
    first, second = parse(asked(), COLUMNS), parse(asked(id=""), COLUMNS)
    assert first.id != second.id
    assert len(first.id) == 32


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"", "no JSON"),
        (b"[1]", "list, not an object"),
        (b"[" * 100_000, "no JSON"),
        (b"\xff\xfe", "no JSON"),
        (b'{"id": "r"}', "no `row`"),
        (asked(rows=[]), "unknown 'rows'"),
        (asked(row=3), "int, not 3 values"),
        (asked(row=[1, 2]), "2 values, not 3 values"),
        (asked(row=[1, 2, True]), "'True', no number of 32 bits"),
        (asked(row=[1, "2", 3]), "row, b: '2', no number"),
        (asked(row=[1, 2, 1e39]), "row, c: '1e"),
        (b'{"row": [1, 2, NaN]}', "NaN is no number of JSON"),
        (b'{"row": [1, 2, ' + b"9" * 5000 + b"]}", "no JSON"),
        (b'{"row": [1, 2, 1e999]}', "'inf', no number"),
        (asked(row={"a": 1, "b": 2}), "lacks 'c'"),
        (asked(row={"a": 1, "b": 2, "c": 3, "d": 4}), "unknown 'd'"),
        (asked(id=3), "id: '3', no text"),
        (asked(id="x" * 129), "no text of at most 128"),
        (asked(key="a\nb"), "key: 'a"),
        (asked(window_end="yesterday"), "'yesterday', no time"),
        (asked(window_end="2026-01-01T00:00:00"), "no time with an offset"),
    ],
)
def test_what_is_wrong_is_named(content: bytes, named: str) -> None:
    with pytest.raises(DeliveryError) as caught:
        parse(content, COLUMNS)
    assert caught.value.code == "U31"
    assert named in str(caught.value)


def test_a_refusal_keeps_the_name_where_one_can_be_read() -> None:
    error = DeliveryError("U31", found="x", where="y", mend="z")
    assert refusal(asked(id="r1"), error)["id"] == "r1"
    assert refusal(asked(id=["r1"]), error)["id"] is None
    assert refusal(b"{", error) == {"id": None, "error": error.document()}


@given(
    st.binary(max_size=200)
    | st.builds(
        lambda value: json.dumps(value).encode(),
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.text(max_size=5),
            lambda part: (
                st.lists(part, max_size=4)
                | st.dictionaries(
                    st.sampled_from(["id", "key", "row", "window_end"]), part, max_size=4
                )
            ),
            max_leaves=8,
        ),
    )
)
def test_no_line_crashes_it(content: bytes) -> None:
    try:
        found = parse(content, COLUMNS)
    except DeliveryError as error:
        assert error.code == "U31"
        assert set(refusal(content, error)) == {"id", "error"}
    else:
        assert found.row.shape == (3,)
