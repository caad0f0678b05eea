"""How the last poll went, for whoever asks later: the reason outlives the process and a restart.

Nothing is decided by it, so it is no part of the state and lies in a file of its own. Flash is not
worn by a channel that stays away: the file is written when the outcome changes, and while it is an
error at most every quarter of an hour. The time of good polls is the state's to keep.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from edge.agent.clock import TrustedClock, utc_now
from edge.agent.config import Config
from edge.agent.quoting import quoted
from edge.agent.state import load
from edge.disk import Disk
from firnline.errors import FirnlineError

FILE = "poll.json"
FAILED = "failed"
WORTH = timedelta(minutes=15)
"""How much later a poll must be for its time alone to be written down."""
_MOST_BYTES = 1 << 16
_BUSY = "U25"


@dataclass(frozen=True)
class Failure:
    """An error that a poll ended with.

    Attributes:
        code: Of the error; empty for a fault of the agent itself.
        found: What was found.
        where: Where.
        mend: What to do about it.
    """

    code: str
    found: str
    where: str
    mend: str


@dataclass(frozen=True)
class LastPoll:
    """How the last poll went.

    Attributes:
        at: When, as far as it was written down; a later one ended alike.
        since: When polls began to end like that.
        outcome: `kept`, `unassigned`, `refused`, `switched`, `installed`, `pulled`, or `failed`.
        error: What it failed with, or why the release was refused; else None.
    """

    at: datetime
    since: datetime
    outcome: str
    error: Failure | None = None

    @property
    def kind(self) -> tuple[str, str]:
        """Outcome and code of the error: two polls that share them ended alike."""
        return self.outcome, "" if self.error is None else self.error.code

    def document(self) -> dict[str, Any]:
        """As it is written, and as `status --json` prints it."""
        times = {"at": self.at.isoformat(), "since": self.since.isoformat()}
        return {**asdict(self), **times}


@dataclass
class Note:
    """What a poll came to, as whoever polls tells it.

    Attributes:
        outcome: As `LastPoll.outcome`.
        error: Why a release was refused, where it was.
    """

    outcome: str = ""
    error: FirnlineError | None = None


@contextmanager
def noted(config: Config, disk: Disk, system: Callable[[], datetime] = utc_now) -> Iterator[Note]:
    """Keep how a poll went that is made in the block; what it raises passes.

    That another agent is at it (U25) is not kept: that one polls. Where the disk cannot be written
    nothing is kept, and nothing is stopped by that.

    Args:
        config: The device's.
        disk: What writes.
        system: The system's clock.
    """
    note = Note()
    try:
        yield note
    except Exception as error:
        if getattr(error, "code", None) != _BUSY:
            _keep(config, disk, system, FAILED, error)
        raise
    _keep(config, disk, system, note.outcome, note.error)


def read(folder: Path) -> LastPoll | None:
    """How the last poll went; None where none was written down, or it cannot be read.

    Args:
        folder: The agent's state folder.
    """
    try:
        with (folder / FILE).open("rb") as file:
            found = json.loads(file.read(_MOST_BYTES))
        told = found["error"]
        return LastPoll(
            at=datetime.fromisoformat(found["at"]).astimezone(UTC),
            since=datetime.fromisoformat(found["since"]).astimezone(UTC),
            outcome=str(found["outcome"]),
            error=None if told is None else Failure(**{key: str(told[key]) for key in told}),
        )
    except (OSError, ValueError, KeyError, TypeError, RecursionError, OverflowError):
        return None


def _keep(
    config: Config,
    disk: Disk,
    system: Callable[[], datetime],
    outcome: str,
    error: Exception | None,
) -> None:
    state, _ = load(config.state)
    now = TrustedClock(None if state is None else state.clock_floor, system).now()
    made = LastPoll(now, now, outcome, None if error is None else _failure(error))
    before = read(config.state)
    if before is not None and before.kind == made.kind:
        # What a clock wrote that was ahead is written anew.
        if before.at <= now and (made.error is None or now - before.at < WORTH):
            return
        made = replace(made, since=min(before.since, now))
    content = f"{json.dumps(made.document())}\n".encode()
    with suppress(OSError):
        disk.write(config.state / FILE, content, 0o600)


def _failure(error: Exception) -> Failure:
    if isinstance(error, FirnlineError):
        return Failure(error.code, error.found, error.where, error.mend)
    told = quoted(f"{type(error).__name__}: {error}")
    return Failure("", told, "the agent itself", "see its log, and report it")
