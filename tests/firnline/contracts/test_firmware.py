"""The layout of a firmware manifest: one form, every field at its place."""

import re
import struct
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firnline.contracts.firmware import (
    BYTES,
    SIGNED_BYTES,
    Firmware,
    firmware_path,
    key_id,
    parse,
    parse_all,
    render,
)
from firnline.errors import DeliveryError

FIRMWARE = Firmware(
    ensemble="refrigeration",
    target="mcu-cortex-m4",
    release="01" * 32,
    counter=7,
    artifact="02" * 32,
    identity="03" * 32,
    identity_bytes=13_470,
    key="04" * 8,
)
SIGNATURE = bytes(BYTES - SIGNED_BYTES)


def test_every_field_lies_where_the_bootloader_reads_it():
    content = render(FIRMWARE)

    assert len(content) == SIGNED_BYTES
    assert content[:4] == b"FIRN"
    assert struct.unpack_from("<HHII", content, 4) == (1, 1, 7, 13_470)
    assert content[16:48] == b"refrigeration".ljust(32, b"\0")
    assert content[48:80] == b"mcu-cortex-m4".ljust(32, b"\0")
    assert content[80:176] == b"\1" * 32 + b"\2" * 32 + b"\3" * 32
    assert content[176:] == b"\4" * 8 + bytes(8)


names = st.from_regex(re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}", re.ASCII), fullmatch=True)
digests = st.binary(min_size=32, max_size=32).map(bytes.hex)
numbers = st.integers(0, 2**32 - 1)


@given(
    st.builds(
        Firmware,
        ensemble=names,
        target=names,
        release=digests,
        counter=st.integers(1, 2**32 - 1),
        artifact=digests,
        identity=digests,
        identity_bytes=numbers,
        key=st.binary(min_size=8, max_size=8).map(bytes.hex),
    )
)
def test_what_is_written_is_read(firmware):
    assert parse(render(firmware) + SIGNATURE, "here") == firmware


@given(st.binary(min_size=BYTES, max_size=BYTES), st.integers(0, SIGNED_BYTES))
def test_what_is_read_has_one_form(noise, kept):
    content = render(FIRMWARE)[:kept] + noise[kept:]
    try:
        found = parse(content, "here")
    except DeliveryError as error:
        assert error.code == "U41"
    else:
        assert render(found) == content[:SIGNED_BYTES]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"ensemble": "e" * 33}, "U41"),
        ({"target": "../mcu"}, "U11"),
        ({"counter": 0}, "U41"),
        ({"counter": 2**32}, "U41"),
        ({"identity_bytes": -1}, "U41"),
        ({"release": "01" * 31}, "U11"),
    ],
    ids=str,
)
def test_what_has_no_form_is_refused(change, code):
    with pytest.raises(DeliveryError) as caught:
        render(replace(FIRMWARE, **change))
    assert caught.value.code == code


def test_it_lies_beside_the_manifest():
    found = firmware_path("refrigeration", "mcu-cortex-m4", "ab" * 32)

    assert found == "mcu/refrigeration/mcu-cortex-m4/abababababababab.bin"


def test_a_key_is_named_by_its_digest():
    # sha256 of 32 zero bytes
    assert key_id(bytes(32)) == "66687aadf862bd77"


def signed_by(*keys, **changes):
    return b"".join(render(replace(FIRMWARE, key=key * 8, **changes)) + SIGNATURE for key in keys)


def test_several_signatures_say_the_same_each_by_another_key():
    assert parse_all(signed_by("04"), "here") == (FIRMWARE,)
    found = parse_all(signed_by("04", "05", "06"), "here")
    assert [replace(each, key=FIRMWARE.key) for each in found] == [FIRMWARE] * 3


@pytest.mark.parametrize(
    "content",
    [
        b"",
        signed_by("04")[:-1],
        signed_by("04") + b"F",
        signed_by("04", "04"),
        signed_by("04", "05", "04"),
        signed_by("04") + signed_by("05", counter=8),
        signed_by("04") + bytes(BYTES),
        signed_by(*(f"{number:02x}" for number in range(9))),
    ],
)
def test_what_is_no_row_of_signatures_is_told(content):
    with pytest.raises(DeliveryError, match=r"here") as caught:
        parse_all(content, "here")
    assert caught.value.code == "U41"
