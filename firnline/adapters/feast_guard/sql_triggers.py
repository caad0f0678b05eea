"""Triggers that refuse what a client without the plugin would do to published objects.

They live in the database, so `sqlite3`, `psql` and a Feast registry on a bare URL meet them too.
A rewrite of a published object passes with a permit: a row that holds exactly the new bytes, which
the plugin writes and removes in the same transaction after it has checked what they mean.
"""

from collections.abc import Sequence

from sqlalchemy import Connection
from sqlalchemy.schema import CreateTable

from firnline.adapters.feast_guard import postgres_triggers, sqlite_triggers
from firnline.adapters.feast_guard.sql_state import OWN, OWN_TABLES, PublishedRow

_KINDS = {"sqlite": sqlite_triggers, "postgresql": postgres_triggers}
# Any number, as long as every client takes the same.
_ADVISORY = 7241906531


def ensure(connection: Connection, rows: Sequence[PublishedRow]) -> None:
    """Put the guard's triggers in place, and back in place where they were dropped or changed.

    Args:
        connection: In a transaction that may write.
        rows: What is published.
    """
    kind = _KINDS.get(connection.dialect.name)
    if kind is not None:
        kind.ensure(connection, rows)


def ensure_tables(connection: Connection) -> None:
    """Create the guard's own tables where they are not there yet."""
    if connection.dialect.name == "postgresql":
        # Two clients that create one table at once would both fail on PostgreSQL's catalogue.
        lock = f"SELECT pg_advisory_xact_lock({_ADVISORY})"
        connection.exec_driver_sql(lock, execution_options=OWN)
    for own in OWN_TABLES:
        connection.execute(CreateTable(own, if_not_exists=True), execution_options=OWN)
