"""Signing firmware manifests: what a microcontroller's bootloader will check of a release.

What is signed is worked out again from the C project that lies in the device's bundle, and held to
its proof, so a signature never repeats what somebody wrote down.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from securesystemslib.signer import Signer, SSlibKey

from edge.device_bundle import PROOF, TARGET
from edge.mcu.emit_identity import Identity, identity, tables
from edge.verify import verify
from firnline.contracts.firmware import Firmware, key_id, parse_all, render
from firnline.contracts.places import kind
from firnline.errors import DeliveryError


def manifest(device_bundle: Path, signers: Sequence[Signer], number: int) -> bytes:
    """The firmware manifest of a device bundle, signed.

    Args:
        device_bundle: Of a microcontroller, as `edge.device_bundle.make` makes it.
        signers: Of the `mcu` role's own keys, as many as must sign.
        number: The counter.

    Returns:
        256 bytes for each signer; Ed25519 is deterministic (RFC 8032, section 5.1.6), so always
        the same ones.

    Raises:
        DeliveryError: D1 to D8, the bundle is not whole; U41, it has no C project or a name that
            is too long; U42, its constants are not those of its proof; U44, a key is no Ed25519.
    """
    document = verify(device_bundle)
    target = str(document.get("target"))
    found = _identity(device_bundle, target)
    told = _proved(device_bundle)
    if told != found.sha256:
        raise DeliveryError(
            "U42",
            found=f"constants {found.sha256[:12]} in the C project, {told[:12]} in its proof",
            where=f"{document['name']} for {target}",
            mend="build the release again with `firnline run`; a proof of old has no identity",
        )
    return _signed(
        Firmware(
            ensemble=str(document["name"]),
            target=target,
            release=str(document["release"]),
            counter=number,
            artifact=str(document["artifact_sha256"]),
            identity=found.sha256,
            identity_bytes=found.length,
            key="",
        ),
        signers,
    )


def renewed(standing: bytes, signers: Sequence[Signer], number: int) -> bytes:
    """A manifest of the same release under a higher counter: for a rollback, or with another key.

    Args:
        standing: The release's manifest as it stands.
        signers: Of the `mcu` role's own keys, as many as must sign.
        number: The counter.

    Raises:
        DeliveryError: U41 it is no manifest, U44 a key is no Ed25519.
    """
    found = parse_all(standing, "the firmware manifest that stands")[0]
    return _signed(replace(found, counter=number), signers)


def _identity(device_bundle: Path, target: str) -> Identity:
    sources = sorted((device_bundle / TARGET / "src").glob("*.c"))
    if kind(target) != "mcu" or len(sources) != 1:
        raise DeliveryError(
            "U41",
            found=f"{len(sources)} C sources for {target}, where a microcontroller has one",
            where=str(device_bundle),
            mend="sign firmware manifests for targets named mcu-...; others need none",
        )
    try:
        return identity(tables(sources[0].read_text(encoding="utf-8")))
    except (ValueError, KeyError) as error:
        raise DeliveryError(
            "U41",
            found=f"C whose constants cannot be read: {error}",
            where=str(sources[0]),
            mend="build the release again with `firnline run`",
        ) from error


def _proved(device_bundle: Path) -> str:
    """The identity that the proof is bound to; `none` where it tells none."""
    try:
        found = json.loads((device_bundle / PROOF).read_bytes())["bound_to"]["identity"]
    except (OSError, ValueError, KeyError, TypeError):
        found = None
    return found if isinstance(found, str) else "none"


def _signed(firmware: Firmware, signers: Sequence[Signer]) -> bytes:
    content = b"".join(_signed_by(signer, firmware) for signer in signers)
    parse_all(content, "what is to be published")
    return content


def _signed_by(signer: Signer, firmware: Firmware) -> bytes:
    key = signer.public_key
    if not isinstance(key, SSlibKey) or key.scheme != "ed25519":
        raise DeliveryError(
            "U44",
            found=f"a key of {key.scheme}",
            where=f"key {key.keyid[:12]} of the role mcu",
            mend="give the role mcu an Ed25519 key (`file:` or `env:`): bootloaders check no other",
        )
    public = bytes.fromhex(key.keyval["public"])
    content = render(replace(firmware, key=key_id(public)))
    return content + bytes.fromhex(signer.sign(content).signature)
