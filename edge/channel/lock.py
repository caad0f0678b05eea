"""One publisher at a time: a lock on a file that the system drops when its holder dies."""

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from firnline.errors import DeliveryError

_PAUSE_SECONDS = 0.05


@contextmanager
def exclusive(path: Path, wait: float = 0.0) -> Iterator[None]:
    """Hold a channel alone.

    Args:
        path: The lock's file; it stays, only the lock on it goes.
        wait: Seconds to wait for another publisher.

    Raises:
        DeliveryError: V5, another publisher still holds it; V16, the file system refused.
    """
    until = time.monotonic() + wait
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+", encoding="utf-8") as file:
            while not _taken(file):
                if time.monotonic() >= until:
                    raise _held(file, path)
                time.sleep(_PAUSE_SECONDS)
            _sign(file)
            yield
    except OSError as error:
        raise DeliveryError(
            "V16",
            found=f"the file system refused: {error.strerror or error}",
            where=str(error.filename or path.parent),
            mend="make room, or give the right to write there, and give the command again: what "
            "can be seen in the channel is whole",
        ) from error


def _taken(file: TextIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _sign(file: TextIO) -> None:
    """Leave who holds the lock and since when, for the one who finds it held."""
    file.truncate(0)
    since = datetime.now(UTC).isoformat(timespec="seconds")
    file.write(json.dumps({"pid": os.getpid(), "since": since}))
    file.flush()


def _held(file: TextIO, path: Path) -> DeliveryError:
    file.seek(0)
    try:
        holder = json.loads(file.read())
        who = f"process {holder['pid']} since {holder['since']}"
    except (ValueError, KeyError, TypeError):
        who = "another process"
    return DeliveryError(
        "V5",
        found=f"{who} is publishing",
        where=str(path),
        mend="wait for it, or give `--wait SECONDS`; the lock goes with its process",
    )
