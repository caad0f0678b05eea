"""Rows of a file, scored once by what is installed, without the service.

A device that has no service believes a release by these: each run is a start of it.
"""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

from edge.agent.config import Config
from edge.agent.health import Standing, confirm, failed, started, stopped
from edge.agent.lock import exclusive
from edge.agent.runner import Runner
from edge.agent.scores import FOLDER, LOCK, ScoreLog
from edge.agent.scoring import Scorer, nothing_installed
from edge.disk import Disk
from firnline.errors import FirnlineError

_LOG = logging.getLogger("firnline.agent")
_ROWS_AT_ONCE = 64
_LOCK_SECONDS = 1.0


def score(config: Config, disk: Disk, lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """Answers to lines, in order; they are kept in the score log as the service's are.

    A release on trial is confirmed when `confirm_answers` of them were answered, and fallen back
    from when `max_failures` in a row were not, or when it ended the process in `max_boots` runs.

    Args:
        config: The device's.
        disk: Where the score log and the state are written.
        lines: Requests as JSON, a line each; empty ones are passed over.

    Raises:
        DeliveryError: U25 the service runs, which answers rows itself; U32 nothing is installed;
            U27 nothing that is installed is whole.
    """
    # Who asks for the status holds the lock for an instant.
    with exclusive(config.state, LOCK, _LOCK_SECONDS):
        found = _told(started(config, disk))
        if found.slot is None:
            raise found.problems[-1] if found.problems else nothing_installed()
        log = ScoreLog(config.state / FOLDER, config.scores, disk)
        scorer = Scorer(config.device, Runner(found.slot), log)
        asked = (line for line in lines if line.strip())
        try:
            while batch := list(islice(asked, _ROWS_AT_ONCE)):
                yield from scorer.answer(batch)
                found = _judged(config, disk, found, scorer)
            if found.on_trial and scorer.answered >= config.health.confirm_answers:
                with _postponed():
                    found = _told(confirm(config, disk, found.manifest))
        finally:
            scorer.close()
            with _postponed():
                stopped(config, disk, found.manifest)


def _judged(config: Config, disk: Disk, found: Standing, scorer: Scorer) -> Standing:
    """What the next rows are answered by: a release on trial that fails gives way."""
    if not found.on_trial or scorer.failures < config.health.max_failures:
        return found
    reason = f"{scorer.failures} rows in a row failed: {scorer.trouble}"
    now = _told(failed(config, disk, reason, found.manifest))
    scorer.use(None if now.slot is None else Runner(now.slot))
    return now


@contextmanager
def _postponed() -> Iterator[None]:
    """What a full disk keeps from being written waits for the next run: rows have answers."""
    try:
        yield
    except (FirnlineError, OSError) as error:
        _LOG.warning("%s", error)


def _told(found: Standing) -> Standing:
    for problem in found.problems:
        _LOG.warning("%s", problem)
    return found
