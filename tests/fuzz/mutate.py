"""Inputs that are almost right: a JSON tree with one thing wrong, or bytes with a few changed.

Byte flips alone seldom get past a
parser, so most mutants are made of the tree: another type, a name that leaves its folder, numbers
and nesting beyond all measure, keys twice or not at all.
"""

import json
from copy import deepcopy
from random import Random
from typing import Any

from tests.fuzz.inputs import HEADER

_TOKENS = {
    "@nan@": "NaN",
    "@inf@": "-Infinity",
    "@exponent@": "1e999",
    "@digits@": "9" * 5000,
    "@deep@": "[" * 3000 + "]" * 3000,
    "@deeper@": '{"a":' * 60000,
}
"""Text that no tree holds: it takes the place of a marker once the tree is written."""
_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 0.5, -0.0, 1e308, 5e-324, 1 << 31, 1 << 53, 1 << 64, 10**400,
    "", "a", "\ud800", "\x00", "../../etc/passwd", "/etc/passwd", "a/../b", "a\\b", ".", "a" * 300,
    "a" * 20000, "Ω\u202e", "0" * 64, "9999-12-31T23:59:59Z", "0001-01-01T00:00:00+14:00",
    "0000-00-00T00:00:00Z", "2026-01-01T00:00:00", "NaN", [], {}, [[]], [None], {"": None},
    [0] * 3000,
    *_TOKENS,
)  # fmt: skip


def mutant(data: bytes, rng: Random) -> bytes:
    """One input more, made of another.

    Args:
        data: Header and document.
        rng: What draws.
    """
    header, body = bytearray(data[:HEADER].ljust(HEADER, b"\0")), data[HEADER:]
    if rng.random() < 0.1:
        header[rng.randrange(HEADER)] = rng.randrange(256)
    made = _tree(body, rng) if rng.random() < 0.7 else None
    return bytes(header) + (_bytes(body, rng) if made is None else made)


def _tree(body: bytes, rng: Random) -> bytes | None:
    """A tree with something wrong; None where there is no tree to begin with."""
    try:
        holder = [json.loads(body)]
        for _ in range(1 + (rng.random() < 0.3) * rng.randrange(4)):
            _wrong(holder, rng)
        text = json.dumps(holder[0], ensure_ascii=rng.random() < 0.5, separators=(",", ":"))
    except (ValueError, RecursionError):  # Not JSON, or a number of too many digits by now.
        return None
    if rng.random() < 0.05:
        text = _twice(text, rng)
    for marker, token in _TOKENS.items():
        text = text.replace(f'"{marker}"', token, 4)
    return text.encode("utf-8", "surrogatepass")


def _wrong(holder: list[Any], rng: Random) -> None:
    """Change one node of a tree."""
    places = _places(holder)
    node, key = rng.choice(places)
    there = node[key]
    match rng.randrange(7):
        case 0 | 1:
            node[key] = deepcopy(rng.choice(_VALUES))
        case 2 if isinstance(node, dict) or len(node) > 1:
            del node[key]
        case 3:
            other, name = rng.choice(places)
            node[key] = json.loads(json.dumps(other[name]))
        case 4 if isinstance(there, dict):
            there[rng.choice(("", "a", "../a", "\ud800", "signed", "0" * 64))] = deepcopy(
                rng.choice(_VALUES)
            )
        case 4 if isinstance(there, list):
            there.insert(rng.randrange(len(there) + 1), deepcopy(rng.choice(_VALUES)))
        case 5 if isinstance(node, dict):
            node[rng.choice(("", "../a", f"{key}a", key.upper(), "\ud800"))] = node.pop(key)
        case _:
            node[key] = _near(there, rng)


def _near(value: Any, rng: Random) -> Any:
    """Something of the same type, where that can be."""
    if isinstance(value, bool) or value is None:
        return not value
    if isinstance(value, int):
        return rng.choice((value + 1, value - 1, -value, value << 40, float(value % 10**9)))
    if isinstance(value, float):
        return rng.choice((-value, value * 1e300, 0.0, value / 3))
    if isinstance(value, str):
        at = rng.randrange(len(value) + 1)
        return (
            value[:at]
            + rng.choice(("", "a", "0", "/", "..", "\n", "é", "\udfff"))
            + value[at + 1 :]
        )
    if isinstance(value, list):
        return rng.choice((value * 2, value[::-1], value[:1], dict.fromkeys(map(str, value))))
    return rng.choice((list(value), [[*pair] for pair in value.items()], {**value, "a": 1}))


def _twice(text: str, rng: Random) -> str:
    """A key that is there twice, with another value."""
    keys = [at for at in range(len(text)) if text.startswith('":', at)]
    if not keys:
        return text
    end = rng.choice(keys)
    begin = text.rfind('"', 0, end)
    return f'{text[:begin]}{text[begin:end]}":{json.dumps(rng.choice(_VALUES[:20]))},{text[begin:]}'


def _places(holder: list[Any]) -> list[tuple[Any, Any]]:
    """Every node of a tree, as who holds it and under what."""
    found: list[tuple[Any, Any]] = []
    waiting: list[Any] = [holder]
    while waiting:
        node = waiting.pop()
        keys = list(node) if isinstance(node, dict) else range(len(node))
        for key in keys:
            found.append((node, key))
            if isinstance(node[key], dict | list):
                waiting.append(node[key])
    return found


def _bytes(body: bytes, rng: Random) -> bytes:
    """Bytes changed, cut, doubled or put elsewhere."""
    made = bytearray(body)
    for _ in range(rng.randrange(1, 5)):
        at = rng.randrange(len(made) + 1)
        end = min(len(made), at + rng.randrange(1, 32))
        match rng.randrange(5):
            case 0:
                del made[at:end]
            case 1:
                made[at:at] = rng.randbytes(rng.randrange(1, 8))
            case 2:
                made[at:at] = made[at:end]
            case 3:
                del made[at:]
            case _:
                made[at : at + 1] = rng.randbytes(1)
    return bytes(made)
