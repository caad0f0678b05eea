"""What time it is on a device whose own clock may be wrong.

A device without a battery starts in 1970, and a wrong year would let old metadata pass for new. So
time never runs behind what the channel has signed: its timestamp says when it was issued.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

SKEW = timedelta(hours=1)
"""How far two clocks that are right may lie apart."""


def utc_now() -> datetime:
    """The system's own clock."""
    return datetime.now(UTC)


class Clock(Protocol):
    """What tells the time that metadata are held to."""

    @property
    def floor(self) -> datetime | None:
        """Latest signed time that was ever seen; it cannot be earlier than that."""
        ...

    def now(self) -> datetime:
        """The time, in UTC."""
        ...


@dataclass(frozen=True)
class TrustedClock:
    """The system's clock, as far as signed time bears it out.

    Attributes:
        floor: Latest signed time that was ever seen; None before the first poll.
        system: The clock that may be wrong.
    """

    floor: datetime | None = None
    system: Callable[[], datetime] = utc_now

    def now(self) -> datetime:
        """The system's time, or the floor where the system is behind it."""
        told = self.system()
        return told if self.floor is None else max(told, self.floor)
