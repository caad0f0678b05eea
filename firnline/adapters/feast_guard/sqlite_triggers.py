"""The guard's triggers on SQLite.

SQLite raises only text that stands in the trigger itself (expressions came with 3.47), so each
published object has triggers of its own, made as it is published.
"""

from collections.abc import Sequence
from functools import lru_cache

from sqlalchemy import Connection, text

from firnline.adapters.feast_guard.sql_state import (
    GUARDED,
    HISTORY,
    OWN,
    PERMIT,
    PROJECTS,
    PUBLISHED,
    Guarded,
    PublishedRow,
)
from firnline.adapters.feast_guard.sql_words import (
    HISTORY_GOES,
    PLACE_TAKEN,
    PROJECT_GOES,
    RECORD_GOES,
    messages,
)
from firnline.digest import digest


def ensure(connection: Connection, rows: Sequence[PublishedRow]) -> None:
    """Put the triggers in place, and back in place where they were dropped or changed."""
    query = text(
        "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND name LIKE 'firnline%'"
    )
    present = {name: sql for name, sql in connection.execute(query, execution_options=OWN)}
    wanted = triggers(tuple(rows))
    for name, sql in wanted.items():
        if present.get(name) != sql:
            connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS {name}", execution_options=OWN)
            connection.exec_driver_sql(sql, execution_options=OWN)
    for name in present.keys() - wanted.keys():
        connection.exec_driver_sql(f"DROP TRIGGER {name}", execution_options=OWN)


@lru_cache(maxsize=8)
def triggers(rows: tuple[PublishedRow, ...]) -> dict[str, str]:
    """Name -> the statement that creates it, for all triggers of a registry."""
    words = messages(rows)
    found: dict[str, str] = {}
    for row in rows:
        found |= _object_triggers(row, *words[row.project, row.key])
    for guarded in GUARDED.values():
        found |= _place_triggers(guarded)
    return found | _history_triggers() | _record_triggers()


def _object_triggers(row: PublishedRow, changed: str, removed: str) -> dict[str, str]:
    """Update, delete and insert of one published object."""
    guarded = GUARDED[row.table]
    name, project = _quoted(row.key.name), _quoted(row.project)

    def is_it(side: str) -> str:
        return f"{side}.{guarded.name} = {name} AND {side}.project_id = {project}"

    allowed = _permitted(guarded.table, guarded.name, guarded.content)
    moved = f"NEW.{guarded.name} IS NOT OLD.{guarded.name} OR NEW.project_id IS NOT OLD.project_id"
    rewritten = f"NEW.{guarded.content} IS NOT OLD.{guarded.content} AND NOT {allowed}"
    ident = digest([row.project, row.key.name])[:16]
    table = guarded.table
    return dict(
        (
            _trigger(
                f"{table}_update_{ident}",
                f"UPDATE ON {table}",
                f"(({is_it('OLD')}) OR ({is_it('NEW')})) AND ({moved} OR ({rewritten}))",
                changed,
            ),
            _trigger(f"{table}_delete_{ident}", f"DELETE ON {table}", is_it("OLD"), removed),
            _trigger(
                f"{table}_insert_{ident}",
                f"INSERT ON {table}",
                f"{is_it('NEW')} AND NOT {allowed}",
                changed,
            ),
        )
    )


def _place_triggers(guarded: Guarded) -> dict[str, str]:
    """No other object takes a published one's place: its name in another table, or its row id.

    SQLite's REPLACE removes the row in its way without a delete trigger.
    """
    table = guarded.table
    named = (
        f"SELECT 1 FROM {PUBLISHED.name} AS p WHERE p.family = '{guarded.family}' AND "
        f"p.table_name <> '{table}' AND p.object_name = NEW.{guarded.name} AND "
        "p.project_id = NEW.project_id"
    )
    on_row = (
        f"SELECT 1 FROM {table} AS t JOIN {PUBLISHED.name} AS p ON p.table_name = '{table}' AND "
        f"p.object_name = t.{guarded.name} AND p.project_id = t.project_id "
        "WHERE t.rowid = NEW.rowid"
    )
    other = f"NEW.{guarded.name} IS NOT t.{guarded.name} OR NEW.project_id IS NOT t.project_id"
    return dict(
        (
            _trigger(
                f"{table}_insert",
                f"INSERT ON {table}",
                f"EXISTS ({named}) OR EXISTS ({on_row} AND ({other}))",
                PLACE_TAKEN,
            ),
            _trigger(
                f"{table}_update",
                f"UPDATE ON {table}",
                f"(NEW.{guarded.name} IS NOT OLD.{guarded.name} AND EXISTS ({named})) "
                f"OR (NEW.rowid IS NOT OLD.rowid AND EXISTS ({on_row}))",
                PLACE_TAKEN,
            ),
        )
    )


def _history_triggers() -> dict[str, str]:
    """Versions that Feast keeps of a published view; and the project it lives in."""

    def of_published(side: str) -> str:
        return (
            f"EXISTS (SELECT 1 FROM {PUBLISHED.name} AS p WHERE p.family = 'view' AND "
            f"p.object_name = {side}.feature_view_name AND p.project_id = {side}.project_id)"
        )

    allowed = _permitted(HISTORY, "feature_view_name", "feature_view_proto")
    on_row = (
        f"EXISTS (SELECT 1 FROM {HISTORY} AS t JOIN {PUBLISHED.name} AS p ON p.family = 'view' AND "
        "p.object_name = t.feature_view_name AND p.project_id = t.project_id "
        "WHERE t.rowid = NEW.rowid)"
    )
    in_use = f"EXISTS (SELECT 1 FROM {PUBLISHED.name} WHERE project_id = OLD.project_id)"
    renamed = "NEW.project_id IS NOT OLD.project_id OR NEW.project_name IS NOT OLD.project_name"
    return dict(
        (
            _trigger(
                f"{HISTORY}_update",
                f"UPDATE ON {HISTORY}",
                f"{of_published('OLD')} OR {of_published('NEW')} OR {on_row}",
                HISTORY_GOES,
            ),
            _trigger(
                f"{HISTORY}_delete", f"DELETE ON {HISTORY}", of_published("OLD"), HISTORY_GOES
            ),
            _trigger(
                f"{HISTORY}_insert",
                f"INSERT ON {HISTORY}",
                f"({of_published('NEW')} AND NOT {allowed}) OR {on_row}",
                HISTORY_GOES,
            ),
            _trigger("projects_delete", f"DELETE ON {PROJECTS}", in_use, PROJECT_GOES),
            _trigger(
                "projects_update",
                f"UPDATE ON {PROJECTS}",
                f"({renamed}) AND {in_use}",
                PROJECT_GOES,
            ),
        )
    )


def _record_triggers() -> dict[str, str]:
    own = PUBLISHED.name
    taken = (
        f"EXISTS (SELECT 1 FROM {own} AS p WHERE p.project_id = NEW.project_id AND "
        "p.family = NEW.family AND p.object_name = NEW.object_name)"
    )
    return dict(
        (
            _trigger(f"{own}_update", f"UPDATE ON {own}", "1", RECORD_GOES),
            _trigger(f"{own}_delete", f"DELETE ON {own}", "1", RECORD_GOES),
            _trigger(f"{own}_insert", f"INSERT ON {own}", taken, RECORD_GOES),
        )
    )


def _permitted(table: str, name: str, content: str) -> str:
    return (
        f"EXISTS (SELECT 1 FROM {PERMIT.name} AS permit WHERE permit.table_name = '{table}' AND "
        f"permit.project_id = NEW.project_id AND permit.object_name = NEW.{name} AND "
        f"permit.content IS NEW.{content})"
    )


def _trigger(name: str, event: str, when: str, message: str) -> tuple[str, str]:
    title = f"firnline_{name}" if not name.startswith("firnline_") else name
    sql = (
        f"CREATE TRIGGER {title} BEFORE {event} WHEN {when} "
        f"BEGIN SELECT RAISE(ABORT, {_quoted(message)}); END"
    )
    return title, sql


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
