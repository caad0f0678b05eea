"""A Prefect server of one's own for the length of a run, on loopback and SQLite.

Prefect can start such a server itself, but then a killed run leaves the server behind; this one
is told by the kernel when its parent dies.
"""

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import URLError
from urllib.request import urlopen

from firnline.errors import FirnlineError

if TYPE_CHECKING:
    from fastapi import FastAPI

_START_SECONDS = 120.0
_PR_SET_PDEATHSIG = 1  # prctl(2)


@contextlib.contextmanager
def local_server(state: Path) -> Iterator[Callable[[], str]]:
    """Start a server, and give what waits for it; one that is configured is used instead.

    Starting takes seconds, in which the caller may import what it needs.

    Args:
        state: Folder for the server's log; its database lies in PREFECT_HOME.

    Yields:
        A function that waits until the server answers and returns its API address. It raises
        FirnlineError S1 when the server does not come up.
    """
    configured = os.environ.get("PREFECT_API_URL")
    if configured:
        yield lambda: configured
        return
    port = _free_port()
    address = f"http://127.0.0.1:{port}/api"
    log_path = state / "prefect" / "server.log"
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "uvicorn", "--factory"),
                "flows.local_server:create_app",
                *("--host", "127.0.0.1", "--port", str(port)),
                *("--log-level", "error", "--lifespan", "on"),
            ],
            env={**os.environ, "PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1"},
            stdout=log,
            stderr=log,
            preexec_fn=_die_with_parent,
        )
        try:
            yield lambda: _await_health(process, address, log_path)
        finally:
            process.terminate()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def create_app() -> "FastAPI":
    """The server's application: Prefect's, in a process that has put off what `flows` puts off."""
    from prefect.server.api import server

    return server.create_app()


@contextlib.contextmanager
def connected(address: str) -> Iterator[None]:
    """Flows inside talk to the server at an API address."""
    from prefect.settings import (
        PREFECT_API_URL,
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
        temporary_settings,
    )

    # Heartbeats tell a lasting server of crashed flows; here each would cost a flow one second.
    with temporary_settings({PREFECT_API_URL: address, PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        yield


def _die_with_parent() -> None:
    # No Ctrl-C of the terminal either: the run ends its server itself, in order.
    os.setpgrp()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _await_health(process: "subprocess.Popen[bytes]", address: str, log_path: Path) -> str:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urlopen(f"{address}/health", timeout=5) as answer:  # noqa: S310
                if answer.status == 200:
                    return address
        except (URLError, OSError):
            time.sleep(0.05)
    raise FirnlineError(
        "S1",
        found="the Prefect server did not come up",
        where=str(log_path),
        mend="read that log; `firnline doctor` checks the machine",
    )
