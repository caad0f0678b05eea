"""One record of the score log: an answer bound to its row, its release and its device."""

import json
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firnline.digest import bytes_digest, canonical_json, digest

_CHECK = ',"crc":"'


def row_digest(row: NDArray[np.float32]) -> str:
    """sha256 of a row as it was scored: its float32 values, little-endian, in order."""
    return bytes_digest(np.ascontiguousarray(row, "<f4").tobytes())


def answer_id(device: str, release: str, request: str, features: str) -> str:
    """What an answer is known by: it cannot be moved to another device, release or row.

    Args:
        device: The device's name.
        release: Digest of the bundle that answered.
        request: What the caller named the request.
        features: `row_digest` of the row.

    Returns:
        The first 32 hex digits of a sha256.
    """
    return digest([device, release, request, features])[:32]


def line(record: dict[str, Any]) -> bytes:
    """A record as one line of JSON, which ends in a CRC-32 of what stands before it.

    Raises:
        ValueError: A number is NaN or infinite.
    """
    body = canonical_json(record)[:-1].encode()
    return body + f'{_CHECK}{zlib.crc32(body):08x}"}}\n'.encode()


def parse(content: bytes) -> dict[str, Any] | None:
    """The record of one line; None where the line is torn or damaged.

    A power cut may leave any bytes at the end of a file, so a line that can be read as JSON is
    not believed for that alone.
    """
    body, found, check = content.rpartition(_CHECK.encode())
    if not found or check != f'{zlib.crc32(body):08x}"}}\n'.encode():
        return None
    try:
        record = json.loads(body + b"}")
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and type(record.get("n")) is int else None
