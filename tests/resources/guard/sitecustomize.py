"""On a process's PYTHONPATH: every connection or look-up beyond this machine is noted, refused.

The file that FIRNLINE_TEST_CALLS names gets a line for each.
"""

import os
import socket
from typing import Any

_CALLS = os.environ["FIRNLINE_TEST_CALLS"]
_LOCAL = {"localhost", "127.0.0.1", "::1", "0.0.0.0", "", None}  # noqa: S104
_connect, _connect_ex, _getaddrinfo = (
    socket.socket.connect,
    socket.socket.connect_ex,
    socket.getaddrinfo,
)


def _refuse(what: str, host: Any) -> None:
    with open(_CALLS, "a", encoding="utf-8") as calls:  # noqa: PTH123
        calls.write(f"{what} {host!r}\n")
    raise ConnectionRefusedError(f"the network is cut: {what} {host!r}")


def _is_local(address: Any) -> bool:
    if not isinstance(address, tuple):
        return True  # A Unix socket's path.
    host = address[0]
    return host in _LOCAL or str(host).startswith("127.")


class _Guarded(socket.socket):
    def connect(self, address: Any) -> None:
        if not _is_local(address):
            _refuse("connect", address)
        _connect(self, address)

    def connect_ex(self, address: Any) -> int:
        if not _is_local(address):
            _refuse("connect", address)
        return _connect_ex(self, address)


def _guarded_getaddrinfo(host: Any, *arguments: Any, **options: Any) -> Any:
    name = host.decode() if isinstance(host, bytes) else host
    if not _is_local((name,)) and name != socket.gethostname():
        _refuse("look up", name)
    return _getaddrinfo(host, *arguments, **options)


socket.socket = _Guarded  # type: ignore[misc]
socket.getaddrinfo = _guarded_getaddrinfo
