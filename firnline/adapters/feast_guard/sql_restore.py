"""What a SQL registry has lost of what it published, put back from its own record."""

from sqlalchemy import Engine, delete

from firnline.adapters.feast_guard.sql_plugin import guard_of, guards_own, take_write_lock
from firnline.adapters.feast_guard.sql_state import (
    OWN,
    PERMIT,
    PublishedRow,
    Stored,
    objects,
    permit,
    published,
    put,
)


def restore(engine: Engine) -> list[str]:
    """Put back every published object that a registry has lost, or holds otherwise.

    Args:
        engine: Made of a URL with the plugin.

    Returns:
        What was put back; empty when all was as published.

    Raises:
        HandshakeError: G7 when the record of what is published is damaged too, or the engine has
            no plugin.
    """
    guard = guard_of(engine)
    if guard is None:
        raise guards_own("an engine without ?plugin=firnline would restore published rows")
    with guard.alone(), engine.begin() as connection:
        take_write_lock(connection)
        rows = published(connection)
        found = {project: objects(connection, project) for project in {row.project for row in rows}}
        lost = [row for row in rows if _lost(row, found[row.project].get(row.key))]
        for row in lost:
            permit(connection, row.table, row.project, row.key.name, row.content)
            put(connection, row)
        connection.execute(delete(PERMIT), execution_options=OWN)
    return [f"{row.project}: {row.key}" for row in lost]


def _lost(row: PublishedRow, held: Stored | None) -> bool:
    return held is None or held.table != row.table or held.meaning != row.meaning
