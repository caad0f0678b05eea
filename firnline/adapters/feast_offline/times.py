"""Times of any Arrow type as one integer that compares: nanoseconds of UTC epoch time."""

from datetime import timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from firnline.errors import HandshakeError

# Stands for no time at all; the earliest time is one later.
EARLIEST = int(np.iinfo(np.int64).min)
LATEST = int(np.iinfo(np.int64).max)

_FACTORS = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}

Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


def nanoseconds(values: Any, where: str) -> tuple[Integers, Flags | None]:
    """Epoch nanoseconds; a time without a zone is UTC, a date its midnight.

    Times outside the years 1677 to 2262 count as the nearest end of what 64 bits hold.

    Args:
        values: Arrow array or chunked array of timestamps or dates.
        where: Column and table, for the message.

    Returns:
        The numbers, and which of them are known; None when all are.

    Raises:
        HandshakeError: O6 when the column holds no times.
    """
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    kind = values.type
    if pa.types.is_date(kind):
        values = values.cast(pa.timestamp("s"))
        kind = values.type
    if not pa.types.is_timestamp(kind):
        raise HandshakeError(
            "O6",
            found=f"{kind} is no time",
            where=where,
            mend="store the column as a timestamp, in UTC where it has no zone",
        )
    known = None if values.null_count == 0 else pc.is_valid(values).to_numpy(zero_copy_only=False)
    numbers = values.cast(pa.int64())
    if known is not None:
        numbers = numbers.fill_null(0)
    return _scaled(numbers.to_numpy(), _FACTORS[kind.unit]), known


def span_nanoseconds(span: timedelta) -> int:
    """A length of time in nanoseconds."""
    return span // timedelta(microseconds=1) * 1_000


def _scaled(numbers: Integers, factor: int) -> Integers:
    if factor == 1 or len(numbers) == 0:
        return numbers
    low, high = EARLIEST // factor + 1, LATEST // factor
    if numbers.min() >= low and numbers.max() <= high:
        return numbers * factor
    scaled = np.clip(numbers, low, high) * factor
    scaled[numbers > high] = LATEST
    scaled[numbers < low] = EARLIEST + 1
    return scaled
