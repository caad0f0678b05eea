"""What C accepts, Python reads, and says the same of it."""

import ctypes
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firnline.contracts.firmware import BYTES, SIGNED_BYTES, parse, render
from tests.edge.agent.c.test_boot import FIRMWARE, KEY, NAMES, PRIVATE

HELD = 3
CONTENT = render(replace(FIRMWARE, identity="1" * 64, counter=HELD))


class Trust(ctypes.Structure):
    """firnline_trust."""

    _fields_ = (
        ("keys", ctypes.c_char_p),
        ("key_count", ctypes.c_size_t),
        ("ensemble", ctypes.c_char_p),
        ("target", ctypes.c_char_p),
        ("counter", ctypes.c_uint32),
    )


def status(library, content, length=None, ensemble=FIRMWARE.ensemble):
    """Name of what C finds of bytes that lie at the very end of what may be read."""
    trust = Trust(KEY, 1, ensemble.encode(), FIRMWARE.target.encode(), HELD)
    size = ctypes.c_size_t(len(content) if length is None else length)
    return NAMES[library.firnline_manifest_verify(content, size, ctypes.byref(trust))]


def signed(content):
    return content + PRIVATE.sign(content)


edits = st.lists(st.tuples(st.integers(0, SIGNED_BYTES - 1), st.integers(0, 255)), max_size=3)


@settings(max_examples=300, deadline=None)
@given(edits)
def test_what_is_accepted_is_read_alike(library, edits):
    changed = bytearray(CONTENT)
    for place, value in edits:
        changed[place] = value
    content = signed(bytes(changed))

    if status(library, content) == "ACCEPTED":
        found = parse(content, "here") if content[6] else None
        assert found is None or found.counter >= HELD
        assert found is None or (found.ensemble, found.target) == (
            FIRMWARE.ensemble,
            FIRMWARE.target,
        )
        assert content[16:80] == CONTENT[16:80]


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=2 * BYTES))
def test_noise_is_refused(library, noise):
    assert status(library, noise) in {"TRUNCATED", "NO_MANIFEST", "UNKNOWN_FORMAT", "UNKNOWN_KEY"}


@pytest.mark.parametrize("length", [1, 31, 32, 33, 40])
def test_a_name_is_the_whole_field(library, length):
    name = "e" * length
    content = signed(render(replace(FIRMWARE, identity="1" * 64, ensemble=name[:32])))

    assert status(library, content, ensemble=name) == (
        "ACCEPTED" if length <= 32 else "OTHER_MODEL"
    )
    assert status(library, content, ensemble=name[:-1]) == (
        "ACCEPTED" if length == 33 else "OTHER_MODEL"
    )
    assert status(library, content, ensemble=name[:-1] + "f") == "OTHER_MODEL"
