"""The guard of a SQL registry: any SQLAlchemy engine whose URL says `?plugin=firnline`.

Feast takes no registry class of one's own, but it makes its engine from a URL, and SQLAlchemy
lets a plugin that the URL names listen to every statement. Each write to Feast's tables is checked
in its own transaction, behind the database's write lock, against the feature lock and against
what this registry has published; what it publishes is recorded in the same transaction.

URL parameters: `firnline_lock`, a lock file, as often as there are some; without one,
`features.lock` of the folder that Feast runs in.
"""

import re
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import (
    Connection,
    Engine,
    delete,
    event,
    inspect,
    select,
)
from sqlalchemy.engine import URL, CreateEnginePlugin, ExceptionContext

from firnline.adapters.artifact_store import locked
from firnline.adapters.feast_guard.meaning import Meaning
from firnline.adapters.feast_guard.rules import (
    Key,
    Record,
    Rules,
    check_one,
    closure,
)
from firnline.adapters.feast_guard.sql_changes import (
    WHERE,
    Change,
    changes,
    history_goes,
    raced,
    written,
)
from firnline.adapters.feast_guard.sql_state import (
    GUARDED,
    HISTORY,
    OWN,
    PERMIT,
    PUBLISHED,
    Stored,
    objects,
    permit,
    publish,
    published,
)
from firnline.adapters.feast_guard.sql_triggers import ensure, ensure_tables
from firnline.adapters.lock_file import read_lock
from firnline.contracts.breach import Breach, refuse
from firnline.contracts.lock import joined
from firnline.errors import HandshakeError

LOCK_PARAMETER = "firnline_lock"
DEFAULT_LOCK = Path("features.lock")
_TOLD = re.compile(
    r"\[(?P<code>[A-Z]+\d+)\] (?P<where>.+?): (?P<found>.+?)\. To mend: (?P<mend>.+)"
)
_NAMES = "|".join((*GUARDED, HISTORY))
# Statements of raw SQL that take the guard itself away, or the tables it stands on.
_AGAINST_GUARD = re.compile(
    r"\b(?:insert|update|delete|replace|drop|alter|truncate|create)\b.*\bfirnline_"
    rf"|\b(?:drop|alter)\s+table\b.*\b(?:{_NAMES}|projects)\b"
    r"|\bpragma\s+writable_schema\s*=",
    re.IGNORECASE | re.DOTALL,
)
_RAW_WRITE = re.compile(
    rf"\b(?:insert|update|replace|merge|copy)\b.*\b(?:{_NAMES})\b", re.IGNORECASE | re.DOTALL
)
_guards: "WeakKeyDictionary[Engine, SqlGuard]" = WeakKeyDictionary()


class GuardPlugin(CreateEnginePlugin):
    """What SQLAlchemy makes of `?plugin=firnline`."""

    def __init__(self, url: URL, kwargs: dict[str, Any]) -> None:
        from firnline.adapters.feast_guard import precheck

        named = url.query.get(LOCK_PARAMETER, ())
        names = (named,) if isinstance(named, str) else named
        # Resolved now: Feast's command changes into the repository, a server may not stay there.
        self._locks = tuple(Path(name).resolve() for name in names or (str(DEFAULT_LOCK),))
        precheck.install()

    def update_url(self, url: URL) -> URL:
        """The URL as the database's driver takes it."""
        return url.difference_update_query([LOCK_PARAMETER])

    def engine_created(self, engine: Engine) -> None:
        """Listen to the engine."""
        guard = SqlGuard(engine, self._locks)
        guard.listen()
        _guards[engine] = guard


def guard_of(engine: Engine) -> "SqlGuard | None":
    """An engine's guard; None when its URL names no plugin."""
    return _guards.get(engine)


class SqlGuard:
    """Checks and records the writes of one engine.

    Attributes:
        locks: Lock files; those that are not there hold nothing.
    """

    def __init__(self, engine: Engine, locks: Sequence[Path]) -> None:
        self.locks = tuple(locks)
        self._engine = engine
        self._thread = threading.RLock()
        self._depth = 0

    def listen(self) -> None:
        """Attach to the engine's events."""
        event.listen(self._engine, "before_execute", self._before)
        event.listen(self._engine, "after_execute", self._after)
        event.listen(self._engine, "before_cursor_execute", self._before_cursor)
        event.listen(self._engine, "after_cursor_execute", self._after_cursor)
        event.listen(self._engine, "handle_error", _tell)

    def rules(self, connection: Connection, project: str) -> Rules:
        """The lock's lines, and what the registry has published in a project.

        Raises:
            HandshakeError: An L-code when a lock file is broken, or two contradict each other.
        """
        rows = published(connection, project)
        return Rules(lines_of(self.locks), {row.key: row.meaning for row in rows})

    def state(self, project: str) -> tuple[Rules, dict[Key, Meaning]]:
        """The rules of a project, and all that its registry holds."""
        with self._engine.connect() as connection:
            rules = self.rules(connection, project)
            return rules, _meanings(objects(connection, project))

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Let one client at a time change the registry, from what it reads to what it writes.

        Feast reads, compares and writes in transactions of their own, so that of two clients at
        once one would lose what it wrote.
        """
        with self._thread:
            self._depth += 1
            try:
                if self._depth > 1:
                    yield
                else:
                    with self._across_processes():
                        yield
            finally:
                self._depth -= 1

    @contextmanager
    def _across_processes(self) -> Iterator[None]:
        name = self._engine.url.database
        if self._engine.dialect.name == "postgresql":
            with self._engine.connect() as connection:
                connection.exec_driver_sql("SELECT pg_advisory_lock(7241906530)")
                try:
                    yield
                finally:
                    connection.exec_driver_sql("SELECT pg_advisory_unlock(7241906530)")
        elif self._engine.dialect.name == "sqlite" and name and name != ":memory:":
            path = Path(name)
            with locked(path.with_name(f".{path.name}.flock")):
                yield
        else:
            yield

    def _before(
        self, connection: Connection, clause: Any, many: Any, one: Any, options: Mapping[str, Any]
    ) -> None:
        name = written(clause)
        if name is None or options.get("firnline_own"):
            return
        if name.startswith("firnline_"):
            raise guards_own(name)
        if name not in GUARDED and name != HISTORY:
            return
        take_write_lock(connection)
        for parameters in many or [one or {}]:
            for change in changes(connection, clause, name, parameters):
                self._check(connection, change)

    def _check(self, connection: Connection, change: "Change") -> None:
        """Refuse a change of one row that breaks a rule, and let a published one's pass."""
        found = objects(connection, change.project)
        rules = self.rules(connection, change.project)
        key = Key(change.family, change.name)
        wanted = None if change.content is None else change.meaning()
        if change.table == HISTORY and wanted is None:
            refuse([history_goes(change.name)] if key in rules.published else [], WHERE)
            return
        refuse(check_one(rules, key, wanted, _meanings(found)), WHERE)
        refuse(raced(change, found.get(key)), WHERE)
        if key in rules.published and change.content is not None:
            permit(connection, change.table, change.project, change.name, change.content)

    def _after(
        self,
        connection: Connection,
        clause: Any,
        many: Any,
        one: Any,
        options: Mapping[str, Any],
        result: Any,
    ) -> None:
        name = written(clause)
        if options.get("firnline_own") or name not in GUARDED:
            return
        connection.execute(delete(PERMIT), execution_options=OWN)
        self._publish(connection)

    def _publish(self, connection: Connection) -> None:
        """Record what the registry has published with this statement."""
        added = False
        for project in _projects(connection):
            rules = self.rules(connection, project)
            found = objects(connection, project)
            reached = closure(rules, _meanings(found))
            new = {key: found[key] for key in reached.keys() - rules.published.keys()}
            publish(connection, project, new, Rules(rules.lines, reached))
            added = added or bool(new)
        if added:
            ensure(connection, published(connection))

    def _before_cursor(
        self,
        connection: Connection,
        cursor: Any,
        statement: str,
        parameters: Any,
        context: Any,
        executemany: bool,
    ) -> None:
        if not _is_raw(context):
            return
        if _AGAINST_GUARD.search(statement):
            raise guards_own(" ".join(statement.split())[:120])
        if _RAW_WRITE.search(statement):
            take_write_lock(connection)
            context.firnline_before = _everything(connection)

    def _after_cursor(
        self,
        connection: Connection,
        cursor: Any,
        statement: str,
        parameters: Any,
        context: Any,
        executemany: bool,
    ) -> None:
        before = getattr(context, "firnline_before", None)
        if before is None:
            return
        # What raw SQL writes shows only now; what it would do to published rows, triggers refused.
        breaches: list[Breach] = []
        for project, held in _everything(connection).items():
            rules = self.rules(connection, project)
            was = before.get(project, {})
            for key in sorted(key for key in held if held[key] != was.get(key)):
                breaches += check_one(rules, key, held[key], held)
        refuse(breaches, WHERE)
        self._publish(connection)


def lines_of(locks: Iterable[Path]) -> dict[str, Record]:
    """Feast's name of a version -> its line, over several lock files.

    Raises:
        HandshakeError: An L-code when a file is broken, or two contradict each other.
    """
    lock = joined({str(path): read_lock(path) for path in locks})
    return {line.table: Record(line.reference, line.digest, line.record) for line in lock}


def _meanings(found: Mapping[Key, Stored]) -> dict[Key, Meaning]:
    return {key: held.meaning for key, held in found.items()}


def _everything(connection: Connection) -> dict[str, dict[Key, Meaning]]:
    return {name: _meanings(objects(connection, name)) for name in _projects(connection)}


def _projects(connection: Connection) -> list[str]:
    found: set[str] = set()
    for guarded in GUARDED.values():
        rows = guarded.rows()
        query = select(rows.c.project_id).distinct()
        found |= set(connection.execute(query, execution_options=OWN).scalars())
    return sorted(found)


def take_write_lock(connection: Connection) -> None:
    """Wait until no other transaction writes; what is read from here on holds until the commit."""
    if not inspect(connection).has_table(PUBLISHED.name):
        ensure_tables(connection)
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(
            f"LOCK TABLE {PERMIT.name} IN EXCLUSIVE MODE", execution_options=OWN
        )
    # On SQLite a write that finds nothing takes the write lock all the same.
    connection.execute(delete(PERMIT), execution_options=OWN)
    ensure(connection, published(connection))


def _is_raw(context: Any) -> bool:
    if context is None or context.execution_options.get("firnline_own"):
        return False
    statement = getattr(context.compiled, "statement", None)
    return written(statement) is None


def guards_own(statement: str) -> HandshakeError:
    """The refusal of what would change the guard itself (G7)."""
    return HandshakeError(
        "G7",
        found=f"a statement would change what keeps published versions: {statement}",
        where=WHERE,
        mend="leave the firnline_ tables and triggers, and Feast's tables, to their owners",
    )


def _tell(context: ExceptionContext) -> None:
    """A trigger's refusal as the error it stands for; Feast would swallow SQLAlchemy's own."""
    told = _TOLD.search(str(context.original_exception).splitlines()[0])
    if told:
        raise HandshakeError(
            told["code"], found=told["found"], where=f"{WHERE}: {told['where']}", mend=told["mend"]
        ) from context.original_exception
