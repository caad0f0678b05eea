"""What a store of packed rows does, whatever keeps the bytes: write the newest, read by key."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from firnline.adapters.feast_online.codec import Layout
from firnline.digest import short
from firnline.errors import HandshakeError


@dataclass(frozen=True)
class Batch:
    """Rows of one layout, ready to be written.

    Attributes:
        layout: What each row holds.
        keys: The entities, encoded.
        event_us: When each row's features held, epoch microseconds UTC.
        created_us: When each row was made, likewise; None where unknown.
        rows: Packed features.
    """

    layout: Layout
    keys: Sequence[bytes]
    event_us: Sequence[int]
    created_us: Sequence[int | None]
    rows: Sequence[bytes]


class Stored(NamedTuple):
    """One entity's row as it lies in the store.

    Attributes:
        layout: Number of its layout.
        event_us: When its features held, epoch microseconds UTC.
        row: Packed features.
    """

    layout: int
    event_us: int
    row: bytes


class Rows(Protocol):
    """Tables of packed rows, one a feature version."""

    def create(self, table: str, digest: str) -> None:
        """Make room for a version; what is there stays.

        Args:
            table: The version's table.
            digest: Digest of the version; empty for a view without one.
        """
        ...

    def drop(self, table: str) -> None:
        """Remove a version's rows, if there are any."""
        ...

    def write(self, table: str, digest: str, batches: Iterable[Batch]) -> int:
        """Keep each entity's newest row: by event time, then by created time, then the last.

        Args:
            table: The version's table; made when there is none.
            digest: Digest of the version that computed the rows.
            batches: The rows.

        Returns:
            Rows looked at.

        Raises:
            HandshakeError: N2 when the table is of another digest.
        """
        ...

    def read(self, table: str, keys: Sequence[bytes]) -> list[Stored | None]:
        """The rows of entities, in the order of the keys; None where there is none.

        Raises:
            HandshakeError: N4 when there is no such table.
        """
        ...

    def layout(self, number: int) -> Layout:
        """A layout that rows name.

        Raises:
            HandshakeError: N3 when it is missing or not what was written.
        """
        ...

    def digest(self, table: str) -> str | None:
        """Digest of the version a table is of; None when there is no such table."""
        ...


def same_version(table: str, held: str, wanted: str) -> None:
    """Refuse rows of another version in a table.

    Raises:
        HandshakeError: N2 when the table's digest is set and is another.
    """
    if held and held != wanted:
        raise HandshakeError(
            "N2",
            found=f"it holds rows of {short(held)}, and rows of {_named(wanted)} are to be written",
            where=f"online table {table}",
            mend="a version's definition does not change: give the new one the next version's "
            "name; if this one was never published, delete its view first, and its rows go too",
        )


def expect(table: str, found: str, wanted: str) -> None:
    """Refuse to serve rows of another version than the one that is asked for.

    Raises:
        HandshakeError: N1 when they differ.
    """
    if found != wanted:
        raise HandshakeError(
            "N1",
            found=f"rows of {_named(found)} are there, and {_named(wanted)} is asked for",
            where=f"online table {table}",
            mend="serve the model with the version it was trained on, and materialise that one",
        )


def by_layout(
    rows: Rows, found: Sequence[Stored | None], digest: str, table: str
) -> list[tuple[Layout, list[int], list[Stored]]]:
    """Rows of one layout together, with the places they came from.

    Args:
        rows: Where they were read.
        found: What was read.
        digest: Digest of the version that is asked for; empty for any.
        table: Its name, for errors.

    Raises:
        HandshakeError: N1 when a row is of another digest, N3 when its layout is damaged.
    """
    groups: dict[int, tuple[list[int], list[Stored]]] = {}
    for place, row in enumerate(found):
        if row is not None:
            places, stored = groups.setdefault(row.layout, ([], []))
            places.append(place)
            stored.append(row)
    answer = []
    for number, (places, stored) in groups.items():
        layout = rows.layout(number)
        if digest or layout.view:
            expect(table, layout.view, digest)
        answer.append((layout, places, stored))
    return answer


def absent(table: str) -> HandshakeError:
    """N4: nothing was ever brought online for a version."""
    return HandshakeError(
        "N4",
        found="no such table: the version was never brought online",
        where=f"online table {table}",
        mend="apply the version's view, then run the features step or feast materialize",
    )


def _named(digest: str) -> str:
    return short(digest) if digest else "a view without a digest"
