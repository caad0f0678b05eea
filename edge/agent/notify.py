"""What the service tells its supervisor: sd_notify(3), by the plain socket protocol.

Without NOTIFY_SOCKET, as under another supervisor or none, nothing is told.
"""

import os
import socket
from contextlib import suppress


def tell(**fields: str) -> bool:
    """Send fields such as `READY="1"`, `STATUS="..."` or `WATCHDOG="1"`.

    Returns:
        Whether somebody was told.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    # A leading @ stands for the abstract namespace of unix(7).
    address = "\0" + address[1:] if address.startswith("@") else address
    lines = [f"{name}={' '.join(value.split())}" for name, value in fields.items()]
    # A supervisor that does not listen must not stop the service.
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        client.setblocking(False)
        client.sendto("\n".join(lines).encode(), address)
        return True
    return False


def watchdog_seconds() -> float | None:
    """How often to send `WATCHDOG=1`: half of what the supervisor waits; None where it does not.

    As sd_watchdog_enabled(3): only when WATCHDOG_PID, where given, is this process.
    """
    told = os.environ.get("WATCHDOG_USEC", "")
    meant = os.environ.get("WATCHDOG_PID", str(os.getpid()))
    if not told.isdecimal() or meant != str(os.getpid()) or int(told) == 0:
        return None
    return int(told) / 2e6
