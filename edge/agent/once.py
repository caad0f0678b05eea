"""Rows of a file, scored once by what is installed, without the service."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from edge.agent.config import Config
from edge.agent.health import standing
from edge.agent.lock import exclusive
from edge.agent.runner import Runner
from edge.agent.scores import FOLDER, LOCK, ScoreLog
from edge.agent.scoring import Scorer, nothing_installed
from edge.agent.slots import slots_of
from edge.disk import Disk

_ROWS_AT_ONCE = 64


def score(config: Config, disk: Disk, lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """Answers to lines, in order; they are kept in the score log as the service's are.

    Args:
        config: The device's.
        disk: Where the score log is written.
        lines: Requests as JSON, a line each; empty ones are passed over.

    Raises:
        DeliveryError: U25 the service runs, which answers rows itself; U32 nothing is installed;
            D1 to D9 what is installed is not whole.
        HandshakeError: H0 to H8, its stages do not fit together.
    """
    with exclusive(config.state, LOCK):
        found = standing(config)
        if found.slot is None or found.manifest is None:
            raise nothing_installed()
        slots_of(config, disk).check(found.slot, found.manifest)
        log = ScoreLog(config.state / FOLDER, config.scores, disk)
        scorer = Scorer(config.device, Runner(found.slot), log)
        asked = (line for line in lines if line.strip())
        try:
            while batch := list(islice(asked, _ROWS_AT_ONCE)):
                yield from scorer.answer(batch)
        finally:
            scorer.close()
