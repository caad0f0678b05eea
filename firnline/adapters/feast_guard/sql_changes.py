"""What a statement would make of each row of Feast's tables, told before it runs."""

from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import Connection, Delete, Insert, Update, select

from firnline.adapters.feast_guard.meaning import Meaning
from firnline.adapters.feast_guard.rules import next_table
from firnline.adapters.feast_guard.sql_state import (
    GUARDED,
    HISTORY,
    OWN,
    VIEW_KINDS,
    Guarded,
    Stored,
    meaning_of,
)
from firnline.contracts.breach import Breach
from firnline.errors import HandshakeError

WHERE = "Feast's registry"


class Change:
    """What a statement would make of one row.

    Attributes:
        table: Feast's table.
        project: The row's project.
        name: The name its object is under, or would be.
        content: Its message afterwards; None when it goes.
        kind: The message's type.
        creates: Whether the statement inserts it.
    """

    def __init__(
        self,
        table: str,
        row: Mapping[str, Any],
        content: bytes | None,
        creates: bool = False,
    ) -> None:
        guarded = GUARDED.get(table)
        self.table = table
        self.project = str(row["project_id"])
        self.name = str(row[guarded.name if guarded else "feature_view_name"])
        self.content = content
        self.family = guarded.family if guarded else "view"
        self.kind = guarded.kind if guarded else VIEW_KINDS.get(row["feature_view_type"], "")
        self.creates = creates

    def meaning(self) -> Meaning:
        """What the row would mean.

        Raises:
            HandshakeError: G10 when its message cannot be read, or there is none.
        """
        return meaning_of(self.kind, self.content or b"", f"{self.table}: {self.name}")


def changes(
    connection: Connection, clause: Any, table: str, parameters: Mapping[str, Any]
) -> Iterator[Change]:
    """Every row that a statement would add, rewrite or remove."""
    guarded = GUARDED.get(table)
    content = guarded.content if guarded else "feature_view_proto"
    if isinstance(clause, Insert):
        values = _values(connection, clause, parameters)
        if all(column in values for column in _needed(table, guarded)):
            yield Change(table, values, bytes(values[content]), creates=True)
            return
        raise _unreadable(table)
    rows = select(clause.table)
    if clause.whereclause is not None:
        rows = rows.where(clause.whereclause)
    values = {} if isinstance(clause, Delete) else _values(connection, clause, parameters)
    columns = {column.name for column in clause.table.columns}
    for row in connection.execute(rows, parameters, execution_options=OWN).mappings():
        before = dict(row)
        if isinstance(clause, Delete):
            yield Change(table, before, None)
            continue
        after = before | {name: value for name, value in values.items() if name in columns}
        if any(after[name] != before[name] for name in _needed(table, guarded) if name != content):
            yield Change(table, before, None)
        if after != before:
            yield Change(table, after, bytes(after[content]))


def _needed(table: str, guarded: Guarded | None) -> tuple[str, ...]:
    if guarded:
        return (guarded.name, "project_id", guarded.content)
    return ("feature_view_name", "project_id", "feature_view_proto", "feature_view_type")


def _values(connection: Connection, clause: Any, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Column -> value of an insert or update that names its values."""
    compiled = clause.compile(dialect=connection.dialect, column_keys=list(parameters) or None)
    return dict(compiled.construct_params(dict(parameters)))


def raced(change: Change, held: Stored | None) -> list[Breach]:
    """G8: Feast saw no such object, and by now there is another.

    Feast takes the database's refusal of the second for a success, so it would be lost in silence.
    """
    if not change.creates or change.table == HISTORY or held is None:
        return []
    if held.table == change.table and held.meaning == change.meaning():
        return []
    return [
        Breach(
            "G8",
            "another client has applied another definition under this name at the same moment",
            f"{change.family} {change.name}",
            "look at what stands there now, then apply again or take "
            f"{next_table(change.name, [change.name])}",
        )
    ]


def history_goes(name: str) -> Breach:
    """G7: what Feast keeps of a published view's versions would go with the view."""
    return Breach(
        "G7",
        "the version history of a published view would be changed or removed",
        f"view {name}",
        f"keep it; define {next_table(name, [name])} beside it",
    )


def _unreadable(table: str) -> HandshakeError:
    return HandshakeError(
        "G10",
        found=f"an insert into {table} whose values cannot be told before it runs",
        where=WHERE,
        mend="write through Feast, one object a statement",
    )


def written(clause: Any) -> str | None:
    """Name of the table that a statement of SQLAlchemy's own writes to."""
    if isinstance(clause, Insert | Update | Delete):
        return str(getattr(clause.table, "name", ""))
    return None
