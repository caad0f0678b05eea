"""The firmware manifest of a release: fetched, and held to what a bootloader cannot see."""

import json
from importlib import resources
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from edge.agent.trust import Offer
from edge.agent.verified import Verified
from firnline.contracts.firmware import (
    BYTES,
    KIND,
    MOST_SIGNATURES,
    SIGNED_BYTES,
    Firmware,
    firmware_path,
    key_id,
    parse_all,
)
from firnline.errors import DeliveryError

VERIFIER = "verifier"


def fetch(channel: Verified, offer: Offer, proof: bytes) -> bytes:
    """The firmware manifest beside a release's own manifest.

    Args:
        channel: What its roles vouch for.
        offer: The release.
        proof: Its proof.json.

    Returns:
        256 bytes for each key of the role of microcontrollers that has signed, all of which tell
        of this release.

    Raises:
        DeliveryError: U41, there is none or it is malformed; U42, another key signed it, or it is
            of another release or other constants; else as `edge.agent.verified`.
    """
    path = firmware_path(offer.ensemble, offer.target, offer.release)
    target = channel.target(path)
    if target is None:
        raise DeliveryError(
            "U41",
            found=f"no firmware manifest of release {offer.release[:12]}",
            where=path,
            mend="publish the release again, with an Ed25519 key of the role mcu at hand",
        )
    content = channel.document(path, target, BYTES * MOST_SIGNATURES)
    for number, firmware in enumerate(parse_all(content, path)):
        _signed(content[BYTES * number :][:BYTES], firmware, channel.keys(KIND), path)
        _same(firmware, offer, proof, path)
    return content


def verifier() -> dict[str, bytes]:
    """Path -> bytes of the C with which a bootloader checks a firmware manifest."""
    sources = (resources.files("edge.agent") / "c").iterdir()
    return {
        f"{VERIFIER}/{source.name}": source.read_bytes()
        for source in sources
        if source.name.endswith((".c", ".h"))
    }


def _signed(content: bytes, firmware: Firmware, keys: list[bytes], path: str) -> None:
    signature, signed = content[SIGNED_BYTES:], content[:SIGNED_BYTES]
    for key in keys:
        try:
            if key_id(key) == firmware.key:
                return Ed25519PublicKey.from_public_bytes(key).verify(signature, signed)
        except (InvalidSignature, ValueError):
            continue
    raise DeliveryError(
        "U42",
        found=f"wrong key: {firmware.key} did not sign it, or is none of the role's: "
        f"{', '.join(map(key_id, keys)) or 'no Ed25519 key'}",
        where=path,
        mend="publish the release again with the present key of the role mcu",
    )


def _same(firmware: Firmware, offer: Offer, proof: bytes, path: str) -> None:
    bound = _bound_to(proof)
    wanted = {
        "ensemble": offer.ensemble,
        "target": offer.target,
        "release": offer.release,
        "artifact": bound.get("artifact"),
        "identity": bound.get("identity"),
    }
    for field, value in wanted.items():
        found = getattr(firmware, field)
        if found != value:
            raise DeliveryError(
                "U42",
                found=f"mix-and-match: {field} {found}, where the release has {str(value)[:80]}",
                where=path,
                mend="publish the release again; see who signs for the role mcu",
            )


def _bound_to(proof: bytes) -> dict[str, Any]:
    """What a proof is bound to; nothing where it is no proof, which then agrees with nothing."""
    try:
        return dict(json.loads(proof)["bound_to"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
