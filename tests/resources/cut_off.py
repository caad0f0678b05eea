"""Run a command in a network namespace of its own, where loopback is all there is.

usage: python cut_off.py COMMAND [ARGUMENT ...]     (after `unshare --net`)
"""

import fcntl
import os
import socket
import struct
import sys

_SIOCSIFFLAGS, _IFF_UP = 0x8914, 0x1

with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
    fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP))
os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606
