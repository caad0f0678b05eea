"""What a command reads: a file or standard input, line by line, none of them without end."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from firnline.errors import DeliveryError

MOST_BYTES = 1 << 20
"""Longest line."""


def opened(source: str, code: str = "U31") -> BinaryIO:
    """A file, or standard input for `-`.

    Args:
        source: Its path.
        code: Of the error where it cannot be read.

    Raises:
        DeliveryError: That code.
    """
    if source == "-":
        return sys.stdin.buffer
    try:
        return Path(source).open("rb")
    except OSError as error:
        raise DeliveryError(
            code,
            found=f"no file that can be read: {error.strerror}",
            where=source,
            mend="name a file, or - for standard input",
        ) from error


def lines(rows: BinaryIO, source: str) -> Iterator[bytes]:
    """Lines of a file.

    Args:
        rows: The file.
        source: Where it came from, for the error.

    Raises:
        DeliveryError: U31, a line is too long.
    """
    while line := rows.readline(MOST_BYTES):
        if len(line) == MOST_BYTES:
            raise DeliveryError(
                "U31",
                found=f"a line of more than {MOST_BYTES:,} bytes",
                where=source,
                mend="send one row a line",
            )
        yield line
