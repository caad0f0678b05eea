"""Triggers that refuse what a client without the plugin would do to published objects.

They live in the database, so `sqlite3`, `psql` and a Feast registry on a bare URL meet them too.
A rewrite of a published object passes with a permit: a row that holds exactly the new bytes, which
the plugin writes and removes in the same transaction after it has checked what they mean.

SQLite raises only text that stands in the trigger, so each published object has triggers of its
own; PostgreSQL looks the text up.
"""

from collections.abc import Iterable, Mapping

from sqlalchemy import Connection, delete, insert, select, text
from sqlalchemy.schema import CreateTable

from firnline.adapters.feast_guard.rules import Key, next_table, readers
from firnline.adapters.feast_guard.sql_state import (
    GUARDED,
    HISTORY,
    OWN,
    OWN_TABLES,
    PERMIT,
    PROJECTS,
    PUBLISHED,
    REFUSAL,
    Guarded,
    PublishedRow,
)
from firnline.digest import digest

_CODES = {"view": ("G1", "G2"), "service": ("G4", "G5")}
_PLUGIN = "a description, a tag or an interval can be changed through ?plugin=firnline"
_FROZEN = (
    "[G7] {where}: a record of what is published would be changed or removed. To mend: leave it; "
    "firnline alone writes it, and only adds to it"
)
_HISTORY_TEXT = _FROZEN.format(where="the version history of a published view")
_OWN_TEXT = _FROZEN.format(where=PUBLISHED.name)
_PROJECT_TEXT = (
    "[G2] project: it holds published versions and would be removed or renamed. To mend: keep the "
    "project; a new one can stand beside it"
)
_TAKEN_TEXT = (
    "[G1] a published name: an object of another kind, or another row, would take its place. To "
    "mend: give the new object a name of its own"
)


def messages(rows: Iterable[PublishedRow]) -> dict[tuple[str, Key], tuple[str, str]]:
    """What a client is told that would change, or remove, each published object."""
    everything = list(rows)
    found = {}
    for row in everything:
        same = [other for other in everything if other.project == row.project]
        under = readers(row.key, {other.key: other.meaning for other in same})
        where = f"{row.key} (read by {', '.join(under)})" if under else str(row.key)
        changed, removed = _CODES.get(row.key.family, ("G6", "G6"))
        names = [other.key.name for other in same if other.key.family == row.key.family]
        beside = "define another beside it"
        if row.key.family == "view":
            beside = f"define {next_table(row.key.name, names)} beside it"
        found[row.project, row.key] = (
            f"[{changed}] {where}: a published version would be overwritten past the guard. "
            f"To mend: leave it as it is and {beside}; {_PLUGIN}",
            f"[{removed}] {where}: a published version would be removed. "
            f"To mend: keep it and {beside}",
        )
    return found


def ensure(connection: Connection, rows: Iterable[PublishedRow]) -> None:
    """Put the guard's triggers in place, and back in place where they were dropped or changed.

    Args:
        connection: In a transaction that may write.
        rows: What is published.
    """
    everything = list(rows)
    if connection.dialect.name == "sqlite":
        _ensure_sqlite(connection, everything)
    elif connection.dialect.name == "postgresql":
        _ensure_postgres(connection, everything)


def ensure_tables(connection: Connection) -> None:
    """Create the guard's own tables where they are not there yet."""
    if connection.dialect.name == "postgresql":
        # Two clients that create one table at once would both fail on PostgreSQL's catalogue.
        _run(connection, "SELECT pg_advisory_xact_lock(7241906531)")
    for own in OWN_TABLES:
        connection.execute(CreateTable(own, if_not_exists=True), execution_options=OWN)


def _run(connection: Connection, statement: str) -> None:
    escaped = statement.replace("%", "%%") if connection.dialect.name == "postgresql" else statement
    connection.exec_driver_sql(escaped, execution_options=OWN)


def _ensure_sqlite(connection: Connection, rows: list[PublishedRow]) -> None:
    query = text(
        "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND name LIKE 'firnline%'"
    )
    present = {name: sql for name, sql in connection.execute(query, execution_options=OWN)}
    wanted = sqlite_triggers(rows)
    for name, sql in wanted.items():
        if present.get(name) != sql:
            _run(connection, f"DROP TRIGGER IF EXISTS {name}")
            _run(connection, sql)
    for name in present.keys() - wanted.keys():
        _run(connection, f"DROP TRIGGER {name}")


def sqlite_triggers(rows: Iterable[PublishedRow]) -> dict[str, str]:
    """Name -> the statement that creates it, for all triggers of a SQLite registry."""
    everything = list(rows)
    words = messages(everything)
    found: dict[str, str] = {}
    for row in everything:
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
                _TAKEN_TEXT,
            ),
            _trigger(
                f"{table}_update",
                f"UPDATE ON {table}",
                f"(NEW.{guarded.name} IS NOT OLD.{guarded.name} AND EXISTS ({named})) "
                f"OR (NEW.rowid IS NOT OLD.rowid AND EXISTS ({on_row}))",
                _TAKEN_TEXT,
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
                _HISTORY_TEXT,
            ),
            _trigger(
                f"{HISTORY}_delete", f"DELETE ON {HISTORY}", of_published("OLD"), _HISTORY_TEXT
            ),
            _trigger(
                f"{HISTORY}_insert",
                f"INSERT ON {HISTORY}",
                f"({of_published('NEW')} AND NOT {allowed}) OR {on_row}",
                _HISTORY_TEXT,
            ),
            _trigger("projects_delete", f"DELETE ON {PROJECTS}", in_use, _PROJECT_TEXT),
            _trigger(
                "projects_update",
                f"UPDATE ON {PROJECTS}",
                f"({renamed}) AND {in_use}",
                _PROJECT_TEXT,
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
            _trigger(f"{own}_update", f"UPDATE ON {own}", "1", _OWN_TEXT),
            _trigger(f"{own}_delete", f"DELETE ON {own}", "1", _OWN_TEXT),
            _trigger(f"{own}_insert", f"INSERT ON {own}", taken, _OWN_TEXT),
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


def _ensure_postgres(connection: Connection, rows: list[PublishedRow]) -> None:
    query = text("SELECT tgname FROM pg_trigger WHERE tgname LIKE 'firnline%' AND tgenabled <> 'D'")
    present = set(connection.execute(query, execution_options=OWN).scalars())
    if present != set(_POSTGRES_TRIGGERS):
        for function in _POSTGRES_FUNCTIONS:
            _run(connection, function)
        for name, (table, rest) in _POSTGRES_TRIGGERS.items():
            _run(connection, f"CREATE OR REPLACE TRIGGER {name} BEFORE {rest}")
            _run(connection, f"ALTER TABLE {table} ENABLE TRIGGER {name}")
    _write_refusals(connection, messages(rows))


def _write_refusals(
    connection: Connection, words: Mapping[tuple[str, Key], tuple[str, str]]
) -> None:
    """The words of each refusal, where they are not there yet as they should be."""
    wanted = sorted((project, *key, *told) for (project, key), told in words.items())
    rows = connection.execute(select(REFUSAL), execution_options=OWN)
    if sorted(tuple(row) for row in rows) == wanted:
        return
    names = [column.name for column in REFUSAL.columns]
    connection.execute(delete(REFUSAL), execution_options=OWN)
    for row in wanted:
        told = dict(zip(names, row, strict=True))
        connection.execute(insert(REFUSAL).values(told), execution_options=OWN)


_POSTGRES_GUARD = f"""
CREATE OR REPLACE FUNCTION firnline_guard() RETURNS trigger LANGUAGE plpgsql AS $guard$
DECLARE
  old_name text; new_name text; old_content bytea; new_content bytea; told text;
BEGIN
  IF TG_OP <> 'INSERT' THEN
    EXECUTE format('SELECT ($1).%I, ($1).%I', TG_ARGV[0], TG_ARGV[1])
      USING OLD INTO old_name, old_content;
  END IF;
  IF TG_OP <> 'DELETE' THEN
    EXECUTE format('SELECT ($1).%I, ($1).%I', TG_ARGV[0], TG_ARGV[1])
      USING NEW INTO new_name, new_content;
  END IF;
  IF TG_OP = 'INSERT' OR (TG_OP = 'UPDATE' AND old_name = new_name
                          AND OLD.project_id = NEW.project_id) THEN
    IF old_content IS NOT DISTINCT FROM new_content AND TG_OP = 'UPDATE' THEN RETURN NEW; END IF;
    IF EXISTS (SELECT 1 FROM {PERMIT.name} AS p WHERE p.table_name = TG_TABLE_NAME
               AND p.project_id = NEW.project_id AND p.object_name = new_name
               AND p.content = new_content) THEN RETURN NEW; END IF;
  END IF;
  SELECT coalesce(CASE TG_OP WHEN 'DELETE' THEN r.removed ELSE r.changed END,
                  '[G1] ' || p.object_name || ': a published version would change or go. '
                  || 'To mend: leave it as it is and define the next version beside it')
    INTO told FROM {PUBLISHED.name} AS p
    LEFT JOIN {REFUSAL.name} AS r USING (project_id, family, object_name)
    WHERE p.family = TG_ARGV[2] AND (
      (TG_OP <> 'INSERT' AND p.project_id = OLD.project_id AND p.object_name = old_name
       AND p.table_name = TG_TABLE_NAME)
      OR (TG_OP <> 'DELETE' AND p.project_id = NEW.project_id AND p.object_name = new_name))
    LIMIT 1;
  IF FOUND THEN RAISE EXCEPTION '%', told; END IF;
  IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;
  RETURN NEW;
END $guard$"""
_POSTGRES_HISTORY = f"""
CREATE OR REPLACE FUNCTION firnline_history() RETURNS trigger LANGUAGE plpgsql AS $guard$
BEGIN
  IF TG_OP = 'INSERT' AND EXISTS (
    SELECT 1 FROM {PERMIT.name} AS p WHERE p.table_name = TG_TABLE_NAME
    AND p.project_id = NEW.project_id AND p.object_name = NEW.feature_view_name
    AND p.content = NEW.feature_view_proto) THEN RETURN NEW; END IF;
  IF EXISTS (SELECT 1 FROM {PUBLISHED.name} AS p WHERE p.family = 'view' AND (
      (TG_OP <> 'INSERT' AND p.project_id = OLD.project_id
       AND p.object_name = OLD.feature_view_name)
      OR (TG_OP <> 'DELETE' AND p.project_id = NEW.project_id
          AND p.object_name = NEW.feature_view_name))) THEN
    RAISE EXCEPTION '%', {_quoted(_HISTORY_TEXT)};
  END IF;
  IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;
  RETURN NEW;
END $guard$"""
_POSTGRES_PROJECT = f"""
CREATE OR REPLACE FUNCTION firnline_project() RETURNS trigger LANGUAGE plpgsql AS $guard$
BEGIN
  IF TG_OP = 'UPDATE' AND NEW.project_id = OLD.project_id
    AND NEW.project_name = OLD.project_name THEN RETURN NEW; END IF;
  IF EXISTS (SELECT 1 FROM {PUBLISHED.name} AS p WHERE p.project_id = OLD.project_id) THEN
    RAISE EXCEPTION '%', {_quoted(_PROJECT_TEXT)};
  END IF;
  IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;
  RETURN NEW;
END $guard$"""
_POSTGRES_FROZEN = f"""
CREATE OR REPLACE FUNCTION firnline_frozen() RETURNS trigger LANGUAGE plpgsql AS $guard$
BEGIN
  IF TG_TABLE_NAME <> '{PUBLISHED.name}' AND NOT EXISTS (SELECT 1 FROM {PUBLISHED.name}) THEN
    RETURN NULL;
  END IF;
  RAISE EXCEPTION '%', replace({_quoted(_OWN_TEXT)}, '{PUBLISHED.name}', TG_TABLE_NAME);
END $guard$"""
_POSTGRES_FUNCTIONS = (_POSTGRES_GUARD, _POSTGRES_HISTORY, _POSTGRES_PROJECT, _POSTGRES_FROZEN)


def _postgres_triggers() -> dict[str, tuple[str, str]]:
    """Name -> table, and what follows BEFORE in the statement that creates it."""
    found = {}
    for guarded in GUARDED.values():
        arguments = f"'{guarded.name}', '{guarded.content}', '{guarded.family}'"
        found[f"firnline_{guarded.table}"] = (
            guarded.table,
            f"INSERT OR UPDATE OR DELETE ON {guarded.table} FOR EACH ROW "
            f"EXECUTE FUNCTION firnline_guard({arguments})",
        )
    found[f"firnline_{HISTORY}"] = (
        HISTORY,
        f"INSERT OR UPDATE OR DELETE ON {HISTORY} FOR EACH ROW EXECUTE FUNCTION firnline_history()",
    )
    found["firnline_projects"] = (
        PROJECTS,
        f"UPDATE OR DELETE ON {PROJECTS} FOR EACH ROW EXECUTE FUNCTION firnline_project()",
    )
    found["firnline_published_rows"] = (
        PUBLISHED.name,
        f"UPDATE OR DELETE ON {PUBLISHED.name} FOR EACH ROW EXECUTE FUNCTION firnline_frozen()",
    )
    for table in (*GUARDED, HISTORY, PROJECTS, PUBLISHED.name):
        found[f"firnline_truncate_{table}"] = (
            table,
            f"TRUNCATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION firnline_frozen()",
        )
    return found


_POSTGRES_TRIGGERS = _postgres_triggers()
