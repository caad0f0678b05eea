from io import BytesIO
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.agent.npy import array
from firnline.errors import DeliveryError


def saved(value: Any, **options: Any) -> bytes:
    stream = BytesIO()
    np.save(stream, value, **options)
    return stream.getvalue()


@pytest.mark.parametrize(
    "value",
    [
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.zeros((0, 4), np.float32),
        np.array([1, -2], np.int32),
        np.array([[True], [False]]),
        np.array([3], np.int64),
        np.float64(2.5),
    ],
)
def test_what_numpy_saves_is_read(value: Any) -> None:
    found = array(saved(value), "here")
    assert found.dtype == value.dtype
    assert np.array_equal(found, value)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"", "no plain array"),
        (saved(np.array([{}], object), allow_pickle=True), "no plain array"),
        (saved(np.array(["text"])), "no plain array"),
        (saved(np.zeros(2, ">f4")), "no plain array"),
        (saved(np.zeros((2, 2), order="F")), "no plain array"),
        (saved(np.zeros(4, np.float32))[:-1], "it tells of 16 bytes, 15 follow"),
        (saved(np.zeros(4, np.float32)) + b"x", "it tells of 16 bytes, 17 follow"),
        (saved(np.zeros(4, np.float32)).replace(b"(4,)", b"(999999999,)", 1), "no plain array"),
    ],
)
def test_what_lies_or_is_not_plain_is_refused(content: bytes, named: str) -> None:
    with pytest.raises(DeliveryError, match=named) as caught:
        array(content, "golden/score.npy")
    assert caught.value.code == "U13"
    assert "golden/score.npy" in str(caught.value)


def test_a_header_of_many_gigabytes_costs_no_memory() -> None:
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (999999999, 999999999), }"
    header = header.ljust(117) + b"\n"
    content = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    with pytest.raises(DeliveryError, match=r"a \.npy header that lies"):
        array(content, "here")


@given(st.binary(max_size=300), st.integers(0, 140), st.integers(0, 255))
def test_no_bytes_crash_it(content: bytes, place: int, value: int) -> None:
    whole = bytearray(saved(np.zeros(3, np.float32)))
    whole[place % len(whole)] = value
    for tried in (content, bytes(whole), bytes(whole[:place]) + content):
        try:
            found = array(tried, "here")
        except DeliveryError as error:
            assert error.code == "U13"
        else:
            assert found.nbytes <= len(tried)
