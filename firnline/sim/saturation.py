"""Saturation temperature against pressure, from a table baked out of CoolProp.

A blend boils over a range of temperatures: superheat is counted from the dew line (the last
drop has boiled), subcooling from the bubble line (the last bubble has condensed).
For a pure fluid the two lines are one.
"""

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]

REFRIGERANTS = ("R404A", "R290", "R134a", "R407C")
TABLE_PATH = Path(__file__).with_name("saturation.csv")

DENSE_LOWEST_C, DENSE_HIGHEST_C = -65.0, 68.0
DENSE_STEPS_PER_K = 20
DENSE_HIGHEST_KPA = 3600
_ZERO_CELSIUS_K = 273.15


@dataclass(frozen=True)
class SaturationLine:
    """The dew and bubble pressures of one refrigerant on a grid of whole degrees.

    Attributes:
        temperature_c: Grid, ascending, shape (g,).
        dew_kpa: Absolute pressure on the dew line, shape (g,).
        bubble_kpa: Absolute pressure on the bubble line, shape (g,).
    """

    temperature_c: F64
    dew_kpa: F64
    bubble_kpa: F64


@cache
def lines() -> dict[str, SaturationLine]:
    """Returns the committed table, refrigerant by refrigerant."""
    rows: dict[str, list[tuple[float, float, float]]] = {name: [] for name in REFRIGERANTS}
    with TABLE_PATH.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            rows[row["refrigerant"]].append(
                (
                    float(row["temperature_c"]),
                    float(row["pressure_dew_kpa"]),
                    float(row["pressure_bubble_kpa"]),
                )
            )
    return {name: SaturationLine(*np.array(table).T) for name, table in rows.items()}


def dew_temperature(refrigerant: str, pressure_kpa: npt.ArrayLike) -> F64:
    """Returns the saturation temperature in C on the dew line, of any shape."""
    line = lines()[refrigerant]
    return _temperature(line.temperature_c, line.dew_kpa, pressure_kpa)


def bubble_temperature(refrigerant: str, pressure_kpa: npt.ArrayLike) -> F64:
    """Returns the saturation temperature in C on the bubble line, of any shape."""
    line = lines()[refrigerant]
    return _temperature(line.temperature_c, line.bubble_kpa, pressure_kpa)


def dew_pressure(refrigerant: str, temperature_c: npt.ArrayLike) -> F64:
    """Returns the absolute pressure in kPa on the dew line, of any shape."""
    line = lines()[refrigerant]
    inverse_k = 1.0 / (np.asarray(temperature_c, dtype=np.float64) + _ZERO_CELSIUS_K)
    grid = 1.0 / (line.temperature_c + _ZERO_CELSIUS_K)
    return np.asarray(np.exp(np.interp(-inverse_k, -grid, np.log(line.dew_kpa))))


def _temperature(grid_c: F64, grid_kpa: F64, pressure_kpa: npt.ArrayLike) -> F64:
    """Interpolates 1/T against ln P, which Clausius-Clapeyron makes nearly a straight line."""
    log_kpa = np.log(np.asarray(pressure_kpa, dtype=np.float64))
    inverse_k = np.interp(log_kpa, np.log(grid_kpa), 1.0 / (grid_c + _ZERO_CELSIUS_K))
    return np.asarray(1.0 / inverse_k - _ZERO_CELSIUS_K)


@dataclass(frozen=True)
class DenseTables:
    """All refrigerants flattened for one-index lookups in the simulator's inner loops.

    By temperature: entry ``refrigerant * by_temperature_size + (T - lowest) * steps``.
    By pressure: entry ``refrigerant * by_pressure_size + kPa``, exact at whole kilopascals.

    Attributes:
        dew_kpa: Dew pressure by dew temperature.
        bubble_of_dew_c: Bubble temperature at the same pressure, by dew temperature.
        dew_c: Dew temperature by pressure.
        bubble_c: Bubble temperature by pressure.
    """

    dew_kpa: F32
    bubble_of_dew_c: F32
    dew_c: F32
    bubble_c: F32
    by_temperature_size: int
    by_pressure_size: int


@cache
def dense() -> DenseTables:
    """Builds the flattened tables once a process."""
    steps = round((DENSE_HIGHEST_C - DENSE_LOWEST_C) * DENSE_STEPS_PER_K) + 1
    celsius = DENSE_LOWEST_C + np.arange(steps) / DENSE_STEPS_PER_K
    kpa = np.maximum(np.arange(DENSE_HIGHEST_KPA + 1), 1)
    dew_kpa = [dew_pressure(name, celsius) for name in REFRIGERANTS]
    bubble = [bubble_temperature(name, p) for name, p in zip(REFRIGERANTS, dew_kpa, strict=True)]
    return DenseTables(
        dew_kpa=np.concatenate(dew_kpa).astype(np.float32),
        bubble_of_dew_c=np.concatenate(bubble).astype(np.float32),
        dew_c=np.concatenate([dew_temperature(n, kpa) for n in REFRIGERANTS]).astype(np.float32),
        bubble_c=np.concatenate([bubble_temperature(n, kpa) for n in REFRIGERANTS]).astype(
            np.float32
        ),
        by_temperature_size=steps,
        by_pressure_size=len(kpa),
    )
