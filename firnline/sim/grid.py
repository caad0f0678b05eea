"""A simulated electricity grid: carbon intensity by the hour, for runs that wait for wind."""

import csv
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from firnline.sim.streams import Purpose, stream

ZONE = "SIM"
BASE_G_PER_KWH = 330.0
WIND_MEMORY = 0.965
WIND_SPREAD_G_PER_KWH = 90.0


def carbon_intensity(seed: int, start: datetime, hours: int) -> Iterator[tuple[datetime, float]]:
    """Yields the hour and its intensity in gCO2e/kWh.

    Solar power digs a trough at noon, cooking and light build a peak at 19 h, a weekend takes
    an eighth off, and wind moves all of it with a memory of a day (first-order autoregression).
    A longer series begins with a shorter one.
    """
    random = stream(seed, Purpose.GRID, 0, 0)
    wind = WIND_SPREAD_G_PER_KWH * float(random.standard_normal())
    innovation = WIND_SPREAD_G_PER_KWH * float(np.sqrt(1 - WIND_MEMORY**2))
    for step in range(hours):
        at = start + timedelta(hours=step)
        sun = max(0.0, float(np.cos((at.hour - 12.5) * np.pi / 12)))
        evening = float(np.exp(-(((at.hour - 19) / 2.2) ** 2)))
        demand = 0.87 if at.weekday() >= 5 else 1.0
        intensity = demand * (BASE_G_PER_KWH - 130.0 * sun**1.5 + 95.0 * evening) + wind
        yield at, round(min(max(intensity, 25.0), 750.0), 1)
        wind = WIND_MEMORY * wind + innovation * float(random.standard_normal())


def write_carbon_intensity(path: Path, seed: int, start: datetime, hours: int) -> None:
    """Writes the series as CSV: datetime (UTC), zone, carbon_intensity."""
    with path.open("w", encoding="utf-8", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(["datetime", "zone", "carbon_intensity"])
        for at, intensity in carbon_intensity(seed, start, hours):
            out.writerow([f"{at:%Y-%m-%dT%H:%M:%SZ}", ZONE, intensity])
