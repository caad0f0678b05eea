"""An input, and the documents in it: sealed, checked or laid out where that is asked for.

An input is two bytes that choose, and a document. Where a document must have its own digest to be
looked at at all, or another syntax than the trees that mutants are made of, the second byte says
whether it gets that: then the attacker holds every key, and writes what he likes.
"""

import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from firnline.digest import digest

HEADER = 2
SIGNED = 1


@dataclass(frozen=True)
class Harness:
    """One way in.

    Attributes:
        run: Takes an input; an error of the project's own refuses it, any other is a fault.
        seeds: Inputs to begin with; the first is right.
    """

    run: Callable[[bytes], None]
    seeds: Sequence[bytes]


def laid_out(data: bytes) -> bytes:
    """A .npy file; where the header asks for it, laid out as a tree tells."""
    content = data[HEADER:]
    wrong = (ValueError, LookupError, TypeError, AttributeError, RecursionError, OverflowError)
    with suppress(*wrong):
        if data[1] & SIGNED:
            told = json.loads(content)
            shape = "".join(f"{length}, " for length in told["shape"])
            text = (
                f"{{'descr': '{told['descr']}', 'fortran_order': {told['fortran_order']}, "
                f"'shape': ({shape}), }}\n"
            ).encode()
            size = len(text).to_bytes(2, "little", signed=False)
            return b"\x93NUMPY\x01\x00" + size + text + bytes(min(told["bytes"], 1 << 16))
    return content


def toml(data: bytes) -> bytes:
    """A text of TOML; where the header asks for it, one that says what a tree does."""
    content = data[HEADER:]
    with suppress(ValueError, RecursionError, AttributeError, IndexError):
        if data[1] & SIGNED:
            return "".join(_assigned("", json.loads(content))).encode()
    return content


def _assigned(table: str, tree: dict[str, Any]) -> Iterator[str]:
    """Lines of TOML: values first, then tables."""
    if table:
        yield f"[{table}]\n"
    for name, value in tree.items():
        if not isinstance(value, dict):
            yield f"{name} = {json.dumps(value)}\n"
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _assigned(f"{table}.{name}" if table else name, value)


def sealed(data: bytes) -> bytes:
    """A document with the digest of what it holds, where the header asks for it and it can be."""
    content = data[HEADER:]
    if not data[1:2] or not data[1] & SIGNED:
        return content
    try:
        document = json.loads(content)
        document.pop("digest", None)
        return json.dumps({**document, "digest": digest(document)}).encode()
    except Exception:
        return content


def checked(content: bytes) -> bytes:
    """A line of the score log with the check that belongs to it."""
    body = content.rpartition(b',"crc":"')[0] or content
    return body + b',"crc":"%08x"}\n' % zlib.crc32(body)
