"""The socket that rows come in by: JSON lines over a Unix socket, one answer a line, in order.

Lines may be sent without waiting for answers; those that have come are scored together.
"""

import asyncio
import json
import math
import os
import socket
import stat
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge.agent.config import Scoring
from edge.agent.rows import malformed, refusal
from edge.agent.table import wrong
from edge.disk import RealDisk
from firnline.errors import DeliveryError

Answer = Callable[[Sequence[bytes]], Awaitable[list[dict[str, Any]]]]
_READ_BYTES = 1 << 16
_LINES_AT_ONCE = 64
"""Rows scored in one go: other callers, and the supervisor's watchdog, have their turn between."""
_CLOSING_SECONDS = 5.0


@dataclass
class _Caller:
    """Who is connected.

    Attributes:
        reader: What it sends.
        writer: What it is sent.
        since: When it was last heard or answered, in seconds that only grow; infinite while its
            rows are scored, which is not its fault.
    """

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    since: float = field(default_factory=time.monotonic)


class Listener:
    """A server on a Unix socket that only the owner and the group may use.

    Args:
        path: Of the socket.
        limits: Longest line, most callers, and when an idle one gives way to another.
        answer: Scores lines, in order.
    """

    def __init__(self, path: Path, limits: Scoring, answer: Answer) -> None:
        self._path, self._limits, self._answer = path, limits, answer
        self._callers: dict[asyncio.Task[None], _Caller] = {}
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Listen.

        Raises:
            DeliveryError: U30, the path cannot be a socket.
        """
        self._server = await asyncio.start_unix_server(self._caller, sock=_bound(self._path))

    async def close(self) -> None:
        """Take no more callers, and answer what has been sent."""
        if self._server is None:
            return
        self._server.close()
        for caller in self._callers.values():
            # What comes after the end would be an error of asyncio's.
            if isinstance(caller.writer.transport, asyncio.ReadTransport):
                caller.writer.transport.pause_reading()
            caller.reader.feed_eof()
        if self._callers:
            await asyncio.wait(self._callers, timeout=_CLOSING_SECONDS)
        for task in self._callers:
            task.cancel()
        self._path.unlink(missing_ok=True)

    async def _caller(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101
        try:
            if len(self._callers) >= self._limits.connections and not self._let_go():
                writer.write(_lines([refusal(b"", _busy(self._limits.connections))]))
                return
            self._callers[task] = caller = _Caller(reader, writer)
            await self._converse(caller)
        except ConnectionError:
            pass  # A caller that goes away is no fault of the service.
        finally:
            self._callers.pop(task, None)
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    def _let_go(self) -> bool:
        """Whether the caller that is idle longest was idle for so long that it gives way."""
        task, idle = min(self._callers.items(), key=lambda item: item[1].since)
        if time.monotonic() - idle.since < self._limits.idle_seconds:
            return False
        del self._callers[task]
        idle.writer.transport.abort()
        return True

    async def _converse(self, caller: _Caller) -> None:
        reader, writer = caller.reader, caller.writer
        rest = b""
        while content := await reader.read(_READ_BYTES):
            caller.since = time.monotonic()
            *lines, rest = (rest + content).split(b"\n")
            long = [len(line) > self._limits.line_bytes for line in (*lines, rest)]
            if any(long):
                # Where the next line begins is not known any more, so the caller is let go.
                found = f"a line of more than {self._limits.line_bytes:,} bytes"
                writer.write(_lines([refusal(b"", malformed(found, str(self._path)))]))
                break
            asked = [line for line in lines if line.strip()]
            for place in range(0, len(asked), _LINES_AT_ONCE):
                caller.since = math.inf
                answers = await self._answer(asked[place : place + _LINES_AT_ONCE])
                caller.since = time.monotonic()
                writer.write(_lines(answers))
                await writer.drain()


def _lines(answers: Sequence[dict[str, Any]]) -> bytes:
    return "".join(f"{json.dumps(answer)}\n" for answer in answers).encode()


def _bound(path: Path) -> socket.socket:
    """A socket at a path; what a service that was killed left there is replaced."""
    RealDisk().folder(path.parent)
    if path.is_symlink() or (path.exists() and not stat.S_ISSOCK(path.lstat().st_mode)):
        raise wrong("a path where something else lies", f"scoring, socket, {path}")
    # It gets its name once it listens: who finds the path may connect.
    unnamed = path.with_name(f".{os.getpid()}")
    unnamed.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX)
    # Set before any name exists, so that nobody else gets in between bind and chmod.
    before = os.umask(0o117)
    try:
        listening.bind(str(unnamed))
        listening.listen()
        unnamed.replace(path)
    except OSError as error:
        listening.close()
        unnamed.unlink(missing_ok=True)
        raise wrong(f"no path for a socket: {error}", f"scoring, socket, {path}") from error
    finally:
        os.umask(before)
    return listening


def _busy(most: int) -> DeliveryError:
    return DeliveryError(
        "U35",
        found=f"{most} callers at once already",
        where="the socket for rows",
        mend="send rows over one connection, close those that are done, or raise `connections` in "
        "[scoring]",
    )
