"""Packed rows in SQLite: one table a version, one transaction a materialisation."""

import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from firnline.adapters.feast_online.codec import Layout, damaged, layout_of
from firnline.adapters.feast_online.rows import Batch, Stored, absent, same_version
from firnline.errors import HandshakeError

_TABLES = "firnline_online"
_LAYOUTS = "firnline_layouts"
_KEYS_AT_ONCE = 10_000
_BUSY_SECONDS = 60.0
_OLDEST = -(2**63)


class SqliteRows:
    """Rows in one SQLite file, in write-ahead mode: readers never wait for a writer.

    Every thread has a connection of its own. A materialisation is one transaction, so a reader
    sees the rows before it or after it.

    Args:
        path: The file; made when there is none.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._local = threading.local()
        self._layouts: dict[int, Layout] = {}

    def create(self, table: str, digest: str) -> None:
        """Make room for a version; what is there stays. See `Rows.create`."""
        with self._transaction() as database:
            _create(database, table, digest)

    def drop(self, table: str) -> None:
        """Remove a version's rows, if there are any."""
        with self._transaction() as database:
            database.execute(f"DROP TABLE IF EXISTS {_quoted(table)}")
            database.execute(f"DELETE FROM {_TABLES} WHERE name = ?", (table,))

    def write(self, table: str, digest: str, batches: Iterable[Batch]) -> int:
        """Keep each entity's newest row, all of them or, after an error, none.

        Raises:
            HandshakeError: N2 when the table is of another digest.
        """
        upsert = (
            f"INSERT INTO {_quoted(table)} VALUES (?, ?, ?, ?, ?) ON CONFLICT (entity_key) "
            "DO UPDATE SET layout = excluded.layout, event_us = excluded.event_us, "
            "created_us = excluded.created_us, row = excluded.row "
            "WHERE (excluded.event_us, ifnull(excluded.created_us, :oldest)) "
            ">= (event_us, ifnull(created_us, :oldest))"
        ).replace(":oldest", str(_OLDEST))
        rows = 0
        with self._transaction() as database:
            held = _digest(database, table)
            same_version(table, held or "", digest)
            if held != digest:
                _create(database, table, digest)
            for batch in batches:
                self._keep(database, batch.layout)
                number = batch.layout.id
                database.executemany(
                    upsert,
                    (
                        (key, number, event, created, row)
                        for key, event, created, row in zip(
                            batch.keys, batch.event_us, batch.created_us, batch.rows, strict=True
                        )
                    ),
                )
                rows += len(batch.rows)
        return rows

    def read(self, table: str, keys: Sequence[bytes]) -> list[Stored | None]:
        """The rows of entities, in the order of the keys. See `Rows.read`.

        Raises:
            HandshakeError: N4 when there is no such table.
        """
        found: dict[bytes, Stored] = {}
        database = self._connection()
        for start in range(0, len(keys), _KEYS_AT_ONCE):
            chunk = keys[start : start + _KEYS_AT_ONCE]
            marks = ",".join("?" * len(chunk))
            query = (
                f"SELECT entity_key, layout, event_us, row FROM {_quoted(table)} "
                f"WHERE entity_key IN ({marks})"
            )
            with _told(table):
                rows = database.execute(query, chunk).fetchall()
            found |= {key: Stored(layout, event, row) for key, layout, event, row in rows}
        return [found.get(key) for key in keys]

    def layout(self, number: int) -> Layout:
        """A layout that rows name. See `Rows.layout`.

        Raises:
            HandshakeError: N3 when it is missing or not what was written.
        """
        layout = self._layouts.get(number)
        if layout is None:
            query = f"SELECT document FROM {_LAYOUTS} WHERE id = ?"
            with _told(_LAYOUTS):
                found = self._connection().execute(query, (number,)).fetchone()
            if found is None:
                raise damaged(f"rows name layout {number:012x}, which is missing")
            layout = self._layouts[number] = layout_of(number, found[0])
        return layout

    def digest(self, table: str) -> str | None:
        """Digest of the version a table is of; None when there is no such table."""
        return _digest(self._connection(), table)

    def _keep(self, database: sqlite3.Connection, layout: Layout) -> None:
        statement = f"INSERT OR IGNORE INTO {_LAYOUTS} VALUES (?, ?)"
        database.execute(statement, (layout.id, layout.text))

    def _connection(self) -> sqlite3.Connection:
        known: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if known is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            known = sqlite3.connect(
                self._path, timeout=_BUSY_SECONDS, isolation_level=None, cached_statements=256
            )
            known.execute("PRAGMA synchronous = NORMAL")
            self._local.connection = known
        return known

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        database = self._connection()
        # Set by writers alone, and kept in the file: a reader needs no right to write.
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("BEGIN IMMEDIATE")
        try:
            database.execute(
                f"CREATE TABLE IF NOT EXISTS {_TABLES} (name TEXT PRIMARY KEY, digest TEXT)"
            )
            database.execute(
                f"CREATE TABLE IF NOT EXISTS {_LAYOUTS} (id INTEGER PRIMARY KEY, document TEXT)"
            )
            yield database
        except BaseException:
            database.execute("ROLLBACK")
            raise
        database.execute("COMMIT")

    def close(self) -> None:
        """Close this thread's connection; the next use opens another."""
        known: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if known is not None:
            known.close()
            self._local.connection = None


def _create(database: sqlite3.Connection, table: str, digest: str) -> None:
    database.execute(
        f"CREATE TABLE IF NOT EXISTS {_quoted(table)} (entity_key BLOB PRIMARY KEY, "
        "layout INTEGER NOT NULL, event_us INTEGER NOT NULL, created_us INTEGER, "
        "row BLOB NOT NULL) WITHOUT ROWID"
    )
    # A table that has a digest keeps it, whoever applies another definition under its name.
    database.execute(
        f"INSERT INTO {_TABLES} VALUES (?, ?) ON CONFLICT (name) DO UPDATE "
        "SET digest = excluded.digest WHERE digest = ''",
        (table, digest),
    )


def _digest(database: sqlite3.Connection, table: str) -> str | None:
    try:
        with _told(_TABLES):
            query = f"SELECT digest FROM {_TABLES} WHERE name = ?"
            found = database.execute(query, (table,)).fetchone()
    except HandshakeError:
        return None
    return None if found is None else str(found[0])


@contextmanager
def _told(table: str) -> Iterator[None]:
    """Say N4 where a table is not there."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):
            raise absent(table) from error
        raise


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
