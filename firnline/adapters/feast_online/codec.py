"""How the features of one entity lie in one row: null bits, fixed-width values, then the rest.

A row begins with one bit a field (set where it is null, lowest bit first), then the values of
fixed width in the layout's order, and for each field of other width its length in bytes; after
them come the bytes of those fields. All numbers are little-endian. Whole columns are so packed
and unpacked by NumPy, without a Python object a value.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firnline.digest import bytes_digest, canonical_json
from firnline.errors import HandshakeError

# `time` is seconds of UTC epoch time, `value` a serialised Feast value of any other type.
FIXED = {"double": "<f8", "float": "<f4", "int64": "<i8", "int32": "<i4", "bool": "u1"} | {
    "time": "<i8"
}
VARIABLE = ("text", "bytes", "value")
_ID_HEX_DIGITS = 12
# No feature can have this name.
_NULLS = " nulls"


@dataclass(frozen=True)
class Column:
    """One feature of many entities.

    Attributes:
        values: Shape [n], of the kind's width; a list of bytes for kinds of no fixed width.
        valid: Shape [n]; False where the value is null.
    """

    values: NDArray[Any] | list[bytes]
    valid: NDArray[np.bool_]

    def tolist(self, kind: str) -> list[Any]:
        """Python values, None where null.

        Args:
            kind: The field's kind; `value` stays bytes.
        """
        found: list[Any]
        if isinstance(self.values, list):
            found = [item.decode() for item in self.values] if kind == "text" else list(self.values)
        else:
            found = (self.values != 0 if kind == "bool" else self.values).tolist()
        if self.valid.all():
            return found
        return [
            item if valid else None for item, valid in zip(found, self.valid.tolist(), strict=True)
        ]


@dataclass(frozen=True)
class Layout:
    """What a row holds, in order; its identity is its content, so that rows carry a number alone.

    Attributes:
        view: Digest of the feature version that wrote the row; empty for a view without one.
        fields: (name, kind) of each feature, in the view's order.
    """

    view: str
    fields: tuple[tuple[str, str], ...]

    @cached_property
    def text(self) -> str:
        """Canonical JSON, as the stores keep it."""
        return canonical_json({"view": self.view, "fields": [list(each) for each in self.fields]})

    @cached_property
    def id(self) -> int:
        """48 bits of the content's sha256."""
        return int(bytes_digest(self.text.encode())[:_ID_HEX_DIGITS], 16)

    @cached_property
    def kinds(self) -> dict[str, str]:
        """Name -> kind."""
        return dict(self.fields)

    @cached_property
    def head(self) -> np.dtype[Any]:
        """The part of a row that is as long in every row."""
        nulls = (_NULLS, "u1", (-(-len(self.fields) // 8),))
        return np.dtype(
            [nulls, *((name, FIXED.get(kind, "<u4")) for name, kind in self.fields)], align=False
        )


@lru_cache(maxsize=1024)
def layout_of(number: int, text: str) -> Layout:
    """The layout a store kept under a number.

    Raises:
        HandshakeError: N3 when the text is not what the number stands for.
    """
    try:
        document = json.loads(text)
        layout = Layout(
            str(document["view"]),
            tuple((str(name), str(kind)) for name, kind in document["fields"]),
        )
    except (ValueError, KeyError, TypeError):
        layout = None
    if layout is None or layout.id != number:
        raise damaged(f"layout {number:012x} is not what it was when rows were written")
    return layout


def damaged(found: str) -> HandshakeError:
    """N3: bytes that nobody of ours wrote so."""
    return HandshakeError(
        "N3",
        found=found,
        where="the online store",
        mend="delete the online store and materialise its versions again",
    )


def pack(layout: Layout, columns: Mapping[str, Column], rows: int) -> list[bytes]:
    """Rows of a layout.

    Args:
        layout: What a row holds.
        columns: Each field's values, shape [rows].
        rows: How many.
    """
    heads = np.zeros(rows, layout.head)
    nulls = np.empty((rows, len(layout.fields)), np.bool_)
    tails: list[Sequence[bytes]] = []
    for place, (name, kind) in enumerate(layout.fields):
        column = columns[name]
        nulls[:, place] = ~column.valid
        if isinstance(column.values, list):
            tails.append(column.values)
            heads[name] = [len(item) for item in column.values]
        else:
            heads[name] = np.where(column.valid, column.values, 0).astype(FIXED[kind])
    heads[_NULLS] = np.packbits(nulls, axis=1, bitorder="little")
    fixed: list[bytes] = heads.view(f"V{layout.head.itemsize}").tolist()
    if not tails:
        return fixed
    return [b"".join(parts) for parts in zip(fixed, *tails, strict=True)]


def unpack(layout: Layout, rows: Sequence[bytes], names: Sequence[str]) -> dict[str, Column]:
    """Columns of rows that have one layout.

    Args:
        layout: What a row holds.
        rows: As `pack` made them.
        names: Which fields, all of the layout.

    Raises:
        HandshakeError: N3 when a row is not of the layout.
    """
    width = layout.head.itemsize
    variable = [name for name, kind in layout.fields if kind in VARIABLE]
    try:
        parts = [row[:width] for row in rows] if variable else rows
        heads = np.frombuffer(b"".join(parts), layout.head)
        if len(heads) != len(rows):
            raise ValueError
    except ValueError as error:
        raise damaged(f"a row is not as long as layout {layout.id:012x} says") from error
    flags = np.unpackbits(heads[_NULLS], axis=1, count=len(layout.fields), bitorder="little")
    tails = _tails(heads, variable, rows, width) if variable else {}
    places = {name: place for place, (name, _) in enumerate(layout.fields)}
    return {
        name: Column(tails.get(name, heads[name]), flags[:, places[name]] == 0) for name in names
    }


def _tails(
    heads: NDArray[Any], variable: Sequence[str], rows: Sequence[bytes], width: int
) -> dict[str, list[bytes]]:
    lengths = np.stack([heads[name].astype(np.int64) for name in variable], axis=1)
    ends = width + np.cumsum(lengths, axis=1)
    if ends[:, -1].tolist() != [len(row) for row in rows]:
        raise damaged("a row is not as long as its fields together")
    starts = (ends - lengths).T.tolist()
    return {
        name: [row[start:end] for row, start, end in zip(rows, begin, stop, strict=True)]
        for name, begin, stop in zip(variable, starts, ends.T.tolist(), strict=True)
    }
