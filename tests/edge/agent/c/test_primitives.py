"""Hashes and signatures in C: the standards' vectors, a library beside it, and forgeries."""

import ctypes
import hashlib

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.edge.agent.c import curve
from tests.edge.agent.c.curve import BASE, L, P, add, challenge, encode, scalar, times, whole

SECRET = bytes(range(32))
MESSAGE = b"what is signed"
KEY = encode(times(scalar(SECRET), BASE))
TORSION = curve.torsion()

RFC_8032 = {
    "TEST 1": (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
        "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    "TEST 2": (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    "TEST 3": (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
        "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
    "TEST SHA(abc)": (
        "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        hashlib.sha512(b"abc").hexdigest(),
        "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b589"
        "09351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704",
    ),
}


def made(key=KEY, r=7, a=None, r_bytes=None):
    """A signature as the equation wants it, with a nonce, scalar and encoding of one's choice."""
    encoded = encode(times(r, BASE)) if r_bytes is None else r_bytes
    secret = scalar(SECRET) if a is None else a
    s = (r + challenge(encoded, key, MESSAGE) * secret) % L
    return encoded + whole(s)


@pytest.mark.parametrize("secret, key, message, signature", RFC_8032.values(), ids=RFC_8032)
def test_the_vectors_of_rfc_8032(verify, secret, key, message, signature):
    text = bytes.fromhex(message)
    private = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(secret))

    assert private.sign(text).hex() == signature
    assert private.public_key().public_bytes_raw().hex() == key
    assert verify(bytes.fromhex(signature), text, bytes.fromhex(key))
    assert not verify(bytes.fromhex(signature), text + b"\0", bytes.fromhex(key))


def test_what_a_library_signs_is_accepted_and_nothing_else(verify):
    draw = np.random.default_rng(8032)
    for length in [*range(0, 300, 7), 1000]:
        private = Ed25519PrivateKey.from_private_bytes(draw.bytes(32))
        key, message = private.public_key().public_bytes_raw(), draw.bytes(length)
        signature = private.sign(message)
        assert verify(signature, message, key)
        for place, text in enumerate((signature, message or b"\0", key)):
            bit = int(draw.integers(8 * len(text)))
            changed = bytearray(text)
            changed[bit // 8] ^= 1 << bit % 8
            given = [signature, message, key]
            given[place] = bytes(changed)
            assert not verify(*given)


def test_a_scalar_has_one_form(verify):
    signature = made()
    s = int.from_bytes(signature[32:], "little")

    assert verify(signature, MESSAGE, KEY)
    for other in (s + L, s + 2 * L, s + 4 * L, s + 8 * L, s | 1 << 255, 2**256 - 1, L):
        if other < 1 << 256:
            assert not verify(signature[:32] + whole(other), MESSAGE, KEY)


def test_a_point_has_one_encoding(verify):
    # R is the identity, which the equation allows; of its encodings one is right.
    encodings = {
        "canonical": whole(1),
        "y above p": whole(P + 1),
        "the other sign": whole(1 | 1 << 255),
        "both": whole((P + 1) | 1 << 255),
    }
    accepted = {
        name: verify(made(r=0, r_bytes=encoded), MESSAGE, KEY)
        for name, encoded in encodings.items()
    }

    assert accepted == {
        "canonical": True, "y above p": False, "the other sign": False, "both": False
    }  # fmt: skip


def test_a_key_of_small_order_is_refused(verify):
    # With such a key, R = S * B holds for every eighth message at least, whoever wrote it.
    for point in TORSION:
        x, y = point
        for encoded in {
            encode(point),
            whole(y | (1 - x % 2) << 255),
            whole(y + P & (1 << 256) - 1),
        }:
            for nonce in range(1, 12):
                assert not verify(made(key=encoded, r=nonce, a=0), MESSAGE, encoded)


@pytest.mark.parametrize("y", [P, P + 2, P + 18, 2**255 - 1], ids=hex)
@pytest.mark.parametrize("sign", [0, 1])
def test_a_key_in_another_encoding_is_refused(verify, y, sign):
    point = (curve.x_of(y - P, sign), y - P)
    encoded = whole(y | sign << 255)

    assert not verify(made(key=encoded), MESSAGE, encoded)
    if point[0] is not None:
        assert encode(point) != encoded


def test_a_key_that_is_no_point_is_refused(verify):
    outside = [y for y in range(2, 40) if curve.x_of(y) is None]

    assert len(outside) > 10
    for y in outside:
        assert not verify(made(key=whole(y)), MESSAGE, whole(y))


def test_the_equation_is_the_one_without_cofactor(verify):
    # A key with a part of order 8: the equation holds where the challenge is a multiple of 8.
    key = encode(add(times(scalar(SECRET), BASE), TORSION[1]))
    found = {}
    for nonce in range(1, 60):
        signature = made(key=key, r=nonce)
        multiple = challenge(signature[:32], key, MESSAGE) % 8 == 0
        found.setdefault(multiple, set()).add(verify(signature, MESSAGE, key))

    assert found == {True: {True}, False: {False}}


@pytest.mark.parametrize("name", ["sha256", "sha512"])
def test_hashes_are_those_of_fips_180_4(library, name):
    draw = np.random.default_rng(180)
    message = draw.bytes(400)
    begin, update, end = (
        getattr(library, f"firnline_{name}_{step}") for step in ("begin", "update", "end")
    )
    for length in range(300):
        text = message[:length]
        state, digest = ctypes.create_string_buffer(512), ctypes.create_string_buffer(64)
        parts = sorted(draw.integers(length + 1, size=2).tolist())
        begin(state)
        for start, stop in zip([0, *parts], [*parts, length], strict=True):
            update(state, text[start:stop], ctypes.c_size_t(stop - start))
        end(state, digest)
        wanted = hashlib.new(name, text).digest()
        assert digest.raw[: len(wanted)] == wanted
