"""One agent at a time: a lock that the kernel frees when its holder dies."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from edge.agent.space import unwritable
from edge.disk import RealDisk
from firnline.errors import DeliveryError

_PAUSE_SECONDS = 0.05


@contextmanager
def exclusive(folder: Path, name: str = "lock", wait_seconds: float = 0.0) -> Iterator[None]:
    """Hold a folder's lock (flock(2)); nobody else on this machine holds it meanwhile.

    Args:
        folder: The agent's state folder; made when it is not there.
        name: The lock's file in it.
        wait_seconds: How long to wait for another holder.

    Raises:
        DeliveryError: U25, another process holds it, whose id is told; U20 or U21, its file
            cannot be made.
    """
    path = folder / name
    descriptor = _open(path)
    try:
        _take(descriptor, path, time.monotonic() + wait_seconds)
        holder = f"{os.getpid()}\n".encode()
        with suppress(OSError):  # Who holds it is told on a disk that can be written.
            # A service takes it at every poll, and flash is not worn by that.
            if os.pread(descriptor, 32, 0) != holder:
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, holder, 0)
        yield
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    try:
        RealDisk().folder(path.parent.parent)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        with suppress(OSError):  # A disk that became read-only still has yesterday's file.
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        raise unwritable(error, path) from error


def _take(descriptor: int, path: Path, until: float) -> None:
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() >= until:
                holder = os.pread(descriptor, 32, 0).decode("ascii", errors="replace").strip()
                raise DeliveryError(
                    "U25",
                    found=f"another agent runs here, process {holder or 'unknown'}",
                    where=str(path),
                    mend="wait until it is done, or stop it; a device has one agent",
                ) from error
        time.sleep(_PAUSE_SECONDS)
