"""Every byte off the wire, counted and timed: an answer may be neither endless nor endlessly slow.

A time limit on a single read does not stop a server that sends a byte before each one runs out
(the slow retrieval of the TUF specification 1.0.34, section 1.5.2), be it in the body, in a header
or in a chunk's trailer. So the meter lies below HTTP, where all of them pass.
"""

import io
import time
from typing import TYPE_CHECKING

from edge.agent.config import Limits
from edge.agent.quoting import quoted
from firnline.errors import DeliveryError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class Meter(io.RawIOBase):
    """A stream that raises once it has given too much, or too little for too long.

    Args:
        raw: The stream; a read of it waits `limits.timeout_seconds` at most.
        most: Bytes that it may give.
        limits: Slowest rate, measured over every `timeout_seconds` spent waiting, and highest
            rate, above which reading pauses.
        where: What is read, for errors.

    Attributes:
        received: Bytes so far.
    """

    def __init__(self, raw: io.RawIOBase, most: int, limits: Limits, where: str) -> None:
        super().__init__()
        self.received = 0
        self._raw, self._most, self._limits, self._where = raw, most, limits, where
        self._began = time.monotonic()
        self._waited, self._window = 0.0, 0

    def readable(self) -> bool:
        """It can be read."""
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int | None:
        """Read what has arrived, at least a byte.

        Raises:
            DeliveryError: U9, more came than may; U10, too little came.
        """
        asked = time.monotonic()
        found: int | None = self._raw.readinto(buffer)
        self._took(found or 0, time.monotonic() - asked)
        return found

    def close(self) -> None:
        """Close the stream below as well."""
        self._raw.close()
        super().close()

    def _took(self, found: int, waited: float) -> None:
        self.received += found
        if self.received > self._most:
            raise endless(f"more than {self._most:,} bytes", self._where)
        self._waited += waited
        self._window += found
        if self._waited >= self._limits.timeout_seconds:
            if self._window < self._limits.slow_bytes_per_second * self._waited:
                raise slow(f"{self._window:,} bytes in {self._waited:.1f} s", self._where)
            self._waited, self._window = 0.0, 0
        if rate := self._limits.rate_bytes_per_second:
            time.sleep(max(0.0, self._began + self.received / rate - time.monotonic()))


def endless(found: str, where: str) -> DeliveryError:
    """The error for an answer without end: U9."""
    return DeliveryError(
        "U9",
        found=f"endless data: {quoted(found)}",
        where=where,
        mend="see who answers for the channel; what was read is thrown away",
    )


def slow(found: str, where: str) -> DeliveryError:
    """The error for an answer that takes too long: U10."""
    return DeliveryError(
        "U10",
        found=f"slow retrieval: {found}",
        where=where,
        mend="see the network and who answers for the channel, or lower "
        "limits.slow_bytes_per_second; the next poll goes on where this one stopped",
    )
