"""The guard's triggers on PostgreSQL: one function for all objects, its words from a table."""

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, delete, insert, select, text

from firnline.adapters.feast_guard.rules import Key
from firnline.adapters.feast_guard.sql_state import (
    GUARDED,
    HISTORY,
    OWN,
    PERMIT,
    PROJECTS,
    PUBLISHED,
    REFUSAL,
    PublishedRow,
)
from firnline.adapters.feast_guard.sql_words import (
    HISTORY_GOES,
    PROJECT_GOES,
    RECORD_GOES,
    messages,
)

# Of this schema alone: another may hold another registry.
_PRESENT = text(
    "SELECT t.tgname FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = t.tgrelid "
    "WHERE t.tgname LIKE 'firnline%' AND t.tgenabled <> 'D' "
    "AND c.relnamespace = current_schema()::regnamespace"
)
_BODIES = text(
    "SELECT prosrc FROM pg_proc WHERE proname LIKE 'firnline%' "
    "AND pronamespace = current_schema()::regnamespace"
)


def ensure(connection: Connection, rows: Sequence[PublishedRow]) -> None:
    """Put the triggers in place, and back in place where they were dropped or disabled."""
    present = set(connection.execute(_PRESENT, execution_options=OWN).scalars())
    bodies = set(connection.execute(_BODIES, execution_options=OWN).scalars())
    if present != set(_TRIGGERS) or bodies != {_body(function) for function in _FUNCTIONS}:
        for function in _FUNCTIONS:
            _run(connection, function)
        for name, (table, rest) in _TRIGGERS.items():
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


def _body(function: str) -> str:
    return function.split("$guard$")[1]


def _run(connection: Connection, statement: str) -> None:
    # The driver takes a percent sign for a parameter.
    connection.exec_driver_sql(statement.replace("%", "%%"), execution_options=OWN)


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


_GUARD = f"""
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
_HISTORY = f"""
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
    RAISE EXCEPTION '%', {_quoted(HISTORY_GOES)};
  END IF;
  IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;
  RETURN NEW;
END $guard$"""
_PROJECT = f"""
CREATE OR REPLACE FUNCTION firnline_project() RETURNS trigger LANGUAGE plpgsql AS $guard$
BEGIN
  IF TG_OP = 'UPDATE' AND NEW.project_id = OLD.project_id
    AND NEW.project_name = OLD.project_name THEN RETURN NEW; END IF;
  IF EXISTS (SELECT 1 FROM {PUBLISHED.name} AS p WHERE p.project_id = OLD.project_id) THEN
    RAISE EXCEPTION '%', {_quoted(PROJECT_GOES)};
  END IF;
  IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;
  RETURN NEW;
END $guard$"""
_FROZEN = f"""
CREATE OR REPLACE FUNCTION firnline_frozen() RETURNS trigger LANGUAGE plpgsql AS $guard$
BEGIN
  IF TG_TABLE_NAME <> '{PUBLISHED.name}' AND NOT EXISTS (SELECT 1 FROM {PUBLISHED.name}) THEN
    RETURN NULL;
  END IF;
  RAISE EXCEPTION '%', replace({_quoted(RECORD_GOES)}, '{PUBLISHED.name}', TG_TABLE_NAME);
END $guard$"""
_FUNCTIONS = (_GUARD, _HISTORY, _PROJECT, _FROZEN)


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


_TRIGGERS = _postgres_triggers()
