"""Which views are versions that a lock holds, as far as a Feast configuration knows of locks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from firnline.adapters.lock_file import read_lock
from firnline.contracts.lock import Line

_PARAMETER = "firnline_lock"
_LOCK = "features.lock"


def held_by(config: Any, views: Sequence[str]) -> dict[str, Line]:
    """View name -> its line, for the views that stand in a lock.

    Args:
        config: Feast's configuration; its SQL registry may name locks (`firnline_lock=`), and
            one may stand beside feature_store.yaml.
        views: Names of Feast views.

    Raises:
        HandshakeError: An L-code when a lock cannot be read: then nothing may be removed.
    """
    found: dict[str, Line] = {}
    if not views:
        return found
    for path in _locks(config):
        lock = read_lock(path)
        found |= {view: line for view in views if (line := lock.by_table(view)) is not None}
    return found


def _locks(config: Any) -> list[Path]:
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    base = Path(config.repo_path) if config.repo_path else Path.cwd()
    try:
        named = make_url(str(config.registry.path)).query.get(_PARAMETER, ())
    except ArgumentError:
        named = ()
    names = [named] if isinstance(named, str) else list(named)
    return [base / name for name in dict.fromkeys([*names, _LOCK])]
