"""The words that triggers refuse with: the code, what would happen, and the mend."""

from collections.abc import Sequence

from firnline.adapters.feast_guard.rules import Key, dependants, next_table, read_by
from firnline.adapters.feast_guard.sql_state import PUBLISHED, PublishedRow

_CODES = {"view": ("G1", "G2"), "service": ("G4", "G5")}
_PLUGIN = "a description, a tag or an interval can be changed through ?plugin=firnline"
_FROZEN = (
    "[G7] {where}: a record of what is published would be changed or removed. To mend: leave it; "
    "firnline alone writes it, and only adds to it"
)
HISTORY_GOES = _FROZEN.format(where="the version history of a published view")
RECORD_GOES = _FROZEN.format(where=PUBLISHED.name)
PROJECT_GOES = (
    "[G2] project: it holds published versions and would be removed or renamed. To mend: keep the "
    "project; a new one can stand beside it"
)
PLACE_TAKEN = (
    "[G1] a published name: an object of another kind, or another row, would take its place. To "
    "mend: give the new object a name of its own"
)


def messages(rows: Sequence[PublishedRow]) -> dict[tuple[str, Key], tuple[str, str]]:
    """What a client is told that would change, or remove, each published object.

    Args:
        rows: All that a registry has published.

    Returns:
        Project and key -> the words against a change, and those against a removal.
    """
    found = {}
    for project in {row.project for row in rows}:
        same = {row.key: row.meaning for row in rows if row.project == project}
        standing = read_by(same)
        views = [key.name for key in same if key.family == "view"]
        for key in same:
            found[project, key] = _message(key, dependants(key, standing), views)
    return found


def _message(key: Key, readers: list[str], views: list[str]) -> tuple[str, str]:
    where = f"{key} (read by {', '.join(readers)})" if readers else str(key)
    changed, removed = _CODES.get(key.family, ("G6", "G6"))
    other = next_table(key.name, views) if key.family == "view" else "another"
    return (
        f"[{changed}] {where}: a published version would be overwritten past the guard. "
        f"To mend: leave it as it is and define {other} beside it; {_PLUGIN}",
        f"[{removed}] {where}: a published version would be removed. "
        f"To mend: keep it and define {other} beside it",
    )
