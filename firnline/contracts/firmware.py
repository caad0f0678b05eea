"""The firmware manifest: what a microcontroller's bootloader checks of a release, in 256 bytes.

Every field has one place and numbers are little-endian, so that a bootloader needs no parser; the
C that reads it is `edge/agent/c/firnline_verify.h`, which repeats this layout. Ed25519 (RFC 8032)
signs all bytes before the signature, with the key of the artifact kind's role.

The counter is the manifest's own, not the release's and not the assignment's: it rises with every
manifest that the kind's role signs for an ensemble and target. A bootloader refuses a lower one. So
an old manifest that is replayed stays out, while a rollback that its owner wants is the old release
under a new manifest; and a device that changes its track is not locked out, as it would be by the
versions of assignments, which each track counts for itself.

A role that asks for two signatures gives two manifests in a row, alike but for key and signature.
So each is checked by the same few lines, and a bootloader that asks for one takes the first.
"""

import hashlib
import struct
from dataclasses import dataclass, replace

from firnline.contracts.places import KINDS, manifest_path, plain, sha256
from firnline.errors import DeliveryError

NAME = "firmware-manifest.bin"
MOST_SIGNATURES = 8
MAGIC, FORMAT = b"FIRN", 1
BYTES, SIGNED_BYTES, NAME_BYTES = 256, 192, 32
MOST_COUNTER = (1 << 32) - 1
KIND = KINDS[1]
"""The kind of artifact whose releases have firmware manifests."""

_IDENTITY = 1  # The one flag: the length and sha256 of the constants are given.
_LAYOUT = struct.Struct("<4sHHII32s32s32s32s32s8s8x")


@dataclass(frozen=True)
class Firmware:
    """What a firmware manifest says.

    Attributes:
        ensemble: At most 32 characters.
        target: Likewise.
        release: Digest of the whole bundle, 64 hex digits.
        counter: Greater with every manifest of this ensemble and target, from 1.
        artifact: sha256 of the C project, as its proof names it.
        identity: sha256 of the model's constants as they lie in flash.
        identity_bytes: Bytes that went into it.
        key: First 8 bytes of the sha256 of the Ed25519 public key, 16 hex digits.
    """

    ensemble: str
    target: str
    release: str
    counter: int
    artifact: str
    identity: str
    identity_bytes: int
    key: str


def firmware_path(ensemble: str, target: str, release: str) -> str:
    """TUF target path of a release's firmware manifest: beside the release's manifest.

    Raises:
        DeliveryError: U11, a name would leave its folder.
    """
    return f"{manifest_path(ensemble, target, release).removesuffix('.json')}.bin"


def key_id(public_key: bytes) -> str:
    """How a manifest names a key: 16 hex digits.

    Args:
        public_key: The 32 bytes of an Ed25519 public key.
    """
    return hashlib.sha256(public_key).hexdigest()[:16]


def render(firmware: Firmware) -> bytes:
    """The 192 bytes that are signed.

    Raises:
        DeliveryError: U11 a name is no plain one, or a digest is none; U41 a name is too long, or a
            number does not fit.
    """
    names = [plain(name).encode() for name in (firmware.ensemble, firmware.target)]
    if max(map(len, names)) > NAME_BYTES:
        raise _malformed(
            f"the name {firmware.ensemble!r} or {firmware.target!r} is longer than {NAME_BYTES}",
            "publish under a shorter name: a bootloader has room for no more",
        )
    if not 0 < firmware.counter <= MOST_COUNTER or not 0 <= firmware.identity_bytes < 1 << 32:
        raise _malformed(
            f"counter {firmware.counter} or length {firmware.identity_bytes}",
            "both are 32 bits, and counters begin at 1",
        )
    digests = map(sha256, (firmware.release, firmware.artifact, firmware.identity))
    return _LAYOUT.pack(
        MAGIC,
        FORMAT,
        _IDENTITY,
        firmware.counter,
        firmware.identity_bytes,
        *names,
        *map(bytes.fromhex, digests),
        bytes.fromhex(firmware.key),
    )


def parse(content: bytes, where: str) -> Firmware:
    """What a firmware manifest says; its signature is not looked at.

    Args:
        content: All 256 bytes.
        where: What they were read from, for the error.

    Raises:
        DeliveryError: U41, it is no firmware manifest of this format.
    """
    if len(content) != BYTES:
        raise _unreadable(f"{len(content):,} bytes, not {BYTES}", where)
    magic, version, flags, counter, length, *rest = _LAYOUT.unpack(content[:SIGNED_BYTES])
    try:
        ensemble, target = (plain(name.rstrip(b"\0").decode("ascii")) for name in rest[:2])
        release, artifact, identity, key = (part.hex() for part in rest[2:])
        found = Firmware(ensemble, target, release, counter, artifact, identity, length, key)
        # One form alone: reserved bytes, and what lies behind a name, are zeros.
        if (magic, version, flags) != (MAGIC, FORMAT, _IDENTITY) or (
            render(found) != content[:SIGNED_BYTES]
        ):
            raise ValueError(f"it begins with {content[:8].hex()}, or bytes are set that must be 0")
    except (ValueError, DeliveryError) as error:
        told = error.found if isinstance(error, DeliveryError) else str(error)
        raise _unreadable(told, where) from error
    return found


def parse_all(content: bytes, where: str) -> tuple[Firmware, ...]:
    """What every manifest of a release says, one a signature: the same, each by another key.

    Args:
        content: 256 bytes for each.
        where: What they were read from, for the error.

    Raises:
        DeliveryError: U41, one is no firmware manifest, they differ, or a key is there twice.
    """
    if not content or len(content) > BYTES * MOST_SIGNATURES:
        raise _unreadable(f"{len(content):,} bytes, not {BYTES} for each signature", where)
    parts = [content[start : start + BYTES] for start in range(0, len(content), BYTES)]
    found = tuple(parse(part, where) for part in parts)
    if len({replace(each, key="") for each in found}) > 1:
        raise _unreadable("its signatures are of different contents", where)
    if len({each.key for each in found}) < len(found):
        raise _unreadable("a key has signed it twice", where)
    return found


def _unreadable(found: str, where: str) -> DeliveryError:
    return _malformed(f"no firmware manifest: {found}", "publish the release again", where)


def _malformed(found: str, mend: str, where: str = "a firmware manifest") -> DeliveryError:
    return DeliveryError("U41", found=found[:300], where=where, mend=mend)
