"""A little dirt, counted: what a landing zone sees and a contract check must catch."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import numpy.typing as npt

from firnline.sim.sensors import BOOLEAN_SENSORS, SENSORS
from firnline.sim.streams import CHUNK, Purpose, stream

F32 = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

KINDS = ("duplicate", "clock_off", "out_of_range", "unknown_device", "all_null")
UNKNOWN_DEVICE = "REF-XX-99999999"
_BROKEN_PROBE = (-127.0, 9999.0)
_NUMERIC_ROWS = [row for row, name in enumerate(SENSORS) if name not in BOOLEAN_SENSORS]
_MINUTES = 60


@dataclass(frozen=True)
class Dirt:
    """Rows of one block to spoil.

    Attributes:
        rows: By kind, places in the block's device-by-device order, each row at most once.
        choice: By kind, a uniform 16-bit integer for each row: which way, how far.
    """

    rows: dict[str, Ints]
    choice: dict[str, Ints]

    def spoil(self, values: dict[str, F32 | Bools], missing: Bools) -> Self:
        """Puts impossible values and empty rows into a block of shape (n, 60), in place.

        Returns:
            The dirt without the rows that had no value left to spoil.
        """
        name = "out_of_range"
        reported = ~missing.reshape(len(SENSORS), -1)[_NUMERIC_ROWS][:, self.rows[name]]
        spoilt = reported.any(axis=0)
        for place in np.flatnonzero(spoilt):
            row, draw = self.rows[name][place], self.choice[name][place]
            present = np.flatnonzero(reported[:, place])
            sensor = SENSORS[_NUMERIC_ROWS[present[draw % len(present)]]]
            values[sensor].reshape(-1)[row] = _BROKEN_PROBE[draw >> 8 & 1]
        missing.reshape(len(SENSORS), -1)[:, self.rows["all_null"]] = True
        return replace(
            self,
            rows=self.rows | {name: self.rows[name][spoilt]},
            choice=self.choice | {name: self.choice[name][spoilt]},
        )

    def clock_offset_seconds(self) -> Ints:
        """How far off each clock is: 25 to 47 hours, either way."""
        draw = self.choice["clock_off"]
        return (25 + draw % 23) * 3600 * np.where(draw >> 8 & 1, 1, -1)


def draw_dirt(seed: int, rate: float, chunk: int, tick: int, devices: int) -> Dirt:
    """Draws the rows to spoil, each kind at `rate`, for the first `devices` of a chunk."""
    random = stream(seed, Purpose.DIRT, chunk, tick)
    size = CHUNK * _MINUTES
    counts = random.poisson(rate * size, len(KINDS))
    places = random.choice(size, min(int(counts.sum()), size), replace=False)
    draws = random.integers(0, 1 << 16, len(places))
    kind_of = np.repeat(np.arange(len(KINDS)), counts)[: len(places)]
    inside = places < devices * _MINUTES
    rows, choice = {}, {}
    for number, name in enumerate(KINDS):
        chosen = inside & (kind_of == number)
        order = np.argsort(places[chosen])
        rows[name] = places[chosen][order]
        choice[name] = draws[chosen][order]
    return Dirt(rows=rows, choice=choice)
