"""Firmware manifests as a publisher signs them."""

import json
from dataclasses import replace

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from securesystemslib.signer import CryptoSigner

from edge.channel.firmware import manifest, renewed
from edge.mcu.generate import generate
from edge.mcu.project import package
from firnline.contracts.firmware import BYTES, SIGNED_BYTES, key_id, parse, parse_all
from firnline.errors import DeliveryError
from tests.edge.agent import bundles
from tests.edge.mcu.samples import bridges

TARGET = "mcu-cortex-m4"
SIGNER = CryptoSigner.generate_ed25519()


def device_bundle(folder, *, target=TARGET, change=lambda text: text, ensemble="small", **bound):
    """A microcontroller's device bundle with real C, and its generator's identity."""
    project = generate(bridges(), "dsp")
    files = {f"target/{name}": text for name, text in package(bridges(), project, "1.0.0").items()}
    files["target/src/bridges.c"] = change(files["target/src/bridges.c"])
    proof = json.dumps({"bound_to": {"identity": project.identity.sha256, **bound}})
    content = {name: text.encode() for name, text in {**files, "proof.json": proof}.items()}
    made = bundles.make(folder, target=target, ensemble=ensemble, files=content)
    return made, project.identity


def refused(code, folder, signer=SIGNER):
    with pytest.raises(DeliveryError) as caught:
        manifest(folder, [signer], 1)
    assert caught.value.code == code
    return caught.value


def test_it_says_what_the_bundle_holds_and_is_signed(tmp_path):
    made, identity = device_bundle(tmp_path)

    content = manifest(tmp_path, [SIGNER], 3)

    found = parse(content, "here")
    public = bytes.fromhex(SIGNER.public_key.keyval["public"])
    key = Ed25519PublicKey.from_public_bytes(public)
    key.verify(content[SIGNED_BYTES:], content[:SIGNED_BYTES])
    with pytest.raises(InvalidSignature):
        key.verify(content[SIGNED_BYTES:], content[1 : SIGNED_BYTES + 1])
    assert (found.ensemble, found.target, found.release) == ("small", TARGET, made.release)
    assert (found.counter, found.key) == (3, key_id(public))
    assert (found.identity, found.identity_bytes) == (identity.sha256, identity.length)
    assert found.artifact == made.document["artifact_sha256"]
    assert manifest(tmp_path, [SIGNER], 3) == content


def test_constants_that_are_not_the_proof_s_are_not_signed(tmp_path):
    device_bundle(tmp_path, change=lambda text: text.replace(" = {\n    ", " = {\n    1", 1))

    assert "in the C project" in refused("U42", tmp_path).found


def test_a_proof_of_old_is_told_what_to_do(tmp_path):
    device_bundle(tmp_path, identity=None)

    error = refused("U42", tmp_path)
    assert "none in its proof" in error.found
    assert "firnline run" in error.mend


def test_only_a_microcontroller_has_one(tmp_path):
    device_bundle(tmp_path, target="npu-ethos-u55-128")

    refused("U41", tmp_path)


def test_a_name_a_bootloader_has_no_room_for(tmp_path):
    device_bundle(tmp_path, ensemble="e" * 40)

    assert "longer than 32" in refused("U41", tmp_path).found


def test_a_key_that_bootloaders_cannot_check(tmp_path):
    device_bundle(tmp_path)

    assert "ecdsa" in refused("U44", tmp_path, CryptoSigner.generate_ecdsa()).found


def test_a_rollback_is_the_old_release_under_a_higher_number(tmp_path):
    device_bundle(tmp_path)
    first = manifest(tmp_path, [SIGNER], 1)
    later = manifest(tmp_path, [SIGNER], 2)

    again = renewed(first, [SIGNER], 3)

    numbers = [parse(content, "here").counter for content in (first, later, again)]
    assert numbers == [1, 2, 3]
    assert parse(again, "here").release == parse(first, "here").release


def test_as_many_keys_as_must_sign_the_same(tmp_path):
    device_bundle(tmp_path)
    second = CryptoSigner.generate_ed25519()

    content = manifest(tmp_path, [SIGNER, second], 3)

    one, two = parse_all(content, "here")
    assert content[:BYTES] == manifest(tmp_path, [SIGNER], 3)
    assert content[BYTES:] == manifest(tmp_path, [second], 3)
    assert replace(two, key=one.key) == one
    assert parse_all(renewed(content, [second, SIGNER], 4), "here")[1].key == one.key
    with pytest.raises(DeliveryError, match=r"U41.*a key has signed it twice"):
        manifest(tmp_path, [SIGNER, SIGNER], 3)
