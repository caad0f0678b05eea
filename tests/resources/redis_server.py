"""A Redis server for one test or one measurement: on a socket of its own, nothing kept."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from redis import Redis
from redis.exceptions import ConnectionError as NotThere

BINARY = "redis-server"
DATABASES = 1_000
_TRIES = 200
_SECONDS_A_TRY = 0.05


@contextmanager
def serving(folder: Path) -> Iterator[Path]:
    """The socket of a server that runs until the block ends.

    Args:
        folder: Where the socket is; its path has to be short (108 bytes on Linux).

    Raises:
        FileNotFoundError: There is no `redis-server` on this machine.
        RuntimeError: The server does not answer.
    """
    socket = folder / "redis.sock"
    options = {
        "--port": "0",
        "--unixsocket": str(socket),
        "--databases": str(DATABASES),
        "--save": "",
        "--dir": str(folder),
    }
    words = [word for option in options.items() for word in option]
    server = subprocess.Popen([BINARY, *words], stdout=subprocess.DEVNULL)
    try:
        _wait(server, socket)
        yield socket
    finally:
        server.terminate()
        server.wait(10)


def _wait(server: subprocess.Popen[bytes], socket: Path) -> None:
    with Redis(unix_socket_path=str(socket)) as client:
        for _ in range(_TRIES):
            if server.poll() is not None:
                break
            try:
                client.ping()
                return
            except NotThere:
                time.sleep(_SECONDS_A_TRY)
    raise RuntimeError(f"{BINARY} does not answer on {socket}")
