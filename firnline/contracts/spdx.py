"""SPDX licence expressions (SPDX specification 2.3, Annex D): whether a text is one."""

import re

UNSTATED = "NOASSERTION"
"""What SPDX has where nobody has said anything."""

_TOKEN = re.compile(r"\s*(\(|\)|[A-Za-z0-9.:+-]+)")
_LICENCE = re.compile(
    r"(DocumentRef-[A-Za-z0-9.-]+:)?LicenseRef-[A-Za-z0-9.-]+|[A-Za-z0-9][A-Za-z0-9.-]*\+?"
)
_EXCEPTION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*")
_WORDS = ("AND", "OR", "WITH")


def expression(text: str) -> str:
    """A licence expression, with single blanks.

    Identifiers are held to their form and not to SPDX's list, which grows.

    Args:
        text: Such as `Apache-2.0` or `(MIT OR LicenseRef-ours) AND BSD-3-Clause`.

    Raises:
        ValueError: It is none.
    """
    tokens, place = [], 0
    while text[place:].strip():
        found = _TOKEN.match(text, place)
        if found is None:
            raise ValueError(f"{text!r} is no SPDX expression: {text[place:].strip()[:20]!r}")
        tokens.append(found[1])
        place = found.end()
    if _compound(tokens, 0) != len(tokens):
        raise ValueError(f"{text!r} is no SPDX expression, such as Apache-2.0 or MIT OR BSL-1.0")
    return " ".join(tokens).replace("( ", "(").replace(" )", ")")


def _compound(tokens: list[str], place: int) -> int:
    """Where an expression that begins at a token ends; -1 where none does."""
    end = _simple(tokens, place)
    while 0 <= end < len(tokens) and tokens[end] in ("AND", "OR"):
        end = _simple(tokens, end + 1)
    return end


def _simple(tokens: list[str], place: int) -> int:
    if place >= len(tokens):
        return -1
    if tokens[place] == "(":
        end = _compound(tokens, place + 1)
        return end + 1 if 0 <= end < len(tokens) and tokens[end] == ")" else -1
    if tokens[place] in _WORDS or not _LICENCE.fullmatch(tokens[place]):
        return -1
    if tokens[place + 1 : place + 2] != ["WITH"]:
        return place + 1
    named = tokens[place + 2 : place + 3]
    good = bool(named) and named[0] not in _WORDS and _EXCEPTION.fullmatch(named[0])
    return place + 3 if good else -1
