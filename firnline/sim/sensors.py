"""What the instruments report of the cycle: noise, resolution, computed channels, gaps."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from firnline.sim.faults import STUCK_EVAPORATOR_C
from firnline.sim.machine import REFERENCE_CONDENSING_C, Plant
from firnline.sim.physics import Trace
from firnline.sim.saturation import DENSE_LOWEST_C, DENSE_STEPS_PER_K, DenseTables, dense
from firnline.sim.streams import normal

F32 = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

RANGES: dict[str, tuple[float, float]] = {
    "temperature_evaporator": (-60, 30),
    "temperature_condenser": (20, 80),
    "temperature_ambient": (-40, 60),
    "temperature_discharge": (30, 150),
    "temperature_suction": (-40, 30),
    "pressure_high_side": (500, 3500),
    "pressure_low_side": (50, 800),
    "current_compressor": (0, 50),
    "vibration_compressor": (0, 100),
    "humidity": (0, 100),
    "door_open_close": (0, 1),
    "defrost_cycle": (0, 1),
    "superheat": (-5, 50),
    "subcooling": (-5, 30),
}
"""The sensors in the order of the readings, with the hard range of each (C, kPa, A, mm/s, K)."""

SENSORS = tuple(RANGES)
BOOLEAN_SENSORS = ("door_open_close", "defrost_cycle")

# Rows of the noise block.
NOISE_ROWS = 11
_EVAP, _COND, _AMB, _DIS, _SUC, _HIGH, _LOW, _AMP, _VIB, _HUM, _LIQ = range(NOISE_ROWS)

LOW_PRESSURE_CUT_OUT_KPA = 55.0
HIGH_PRESSURE_STEP_KPA = 5


@dataclass(frozen=True)
class Observed:
    """The reported values of n devices over m minutes, before anything goes missing.

    Attributes:
        values: By sensor, shape (n, m); float32 at the sensor's resolution, or bool.
        liquid_line_c: Read by the controller to compute subcooling but not sent, shape (n, m).
    """

    values: dict[str, F32 | Bools]
    liquid_line_c: F32


def observe(
    plant: Plant,
    trace: Trace,
    ambient_c: F32,
    humidity: F32,
    door: Bools,
    levers: Mapping[str, F32],
    noise: npt.NDArray[np.uint16],
) -> Observed:
    """Reads the instruments.

    The controller computes superheat and subcooling from the very pressures and temperatures
    it reports, so ``superheat == temperature_suction - T_dew(pressure_low_side)`` and
    ``subcooling == T_bubble(pressure_high_side) - liquid_line`` up to their rounding to 0.1 K,
    with a drifting instrument too.

    Args:
        plant: Constants of n devices.
        trace: Of m minutes.
        ambient_c: Air at the condenser, shape (m, n).
        humidity: Relative humidity in percent, shape (m, n).
        door: Door open, shape (m, n).
        levers: Each of shape (m, n).
        noise: Uniform 16-bit integers, shape (NOISE_ROWS, n, m).
    """
    table = dense()
    fluid = plant.refrigerant[:, None]
    coil, condensing, evaporating = np.ascontiguousarray(trace.cycle.transpose(1, 2, 0))
    suction, discharge, running = np.ascontiguousarray(trace.followers.transpose(1, 2, 0))
    charge = _by_device(levers["charge"])

    low = _low_pressure(table, fluid, evaporating, running, charge)
    low += normal(noise[_LOW]) * np.float32(0.8)
    low += _by_device(levers["low_pressure_bias"])
    low_kpa = _whole(low, LOW_PRESSURE_CUT_OUT_KPA, 1)
    place = _temperature_index(table, fluid, condensing)
    bubble = table.bubble_of_dew_c[place]
    high = table.dew_kpa[place] + normal(noise[_HIGH]) * np.float32(4.0)
    high_kpa = _whole(high, 100.0, HIGH_PRESSURE_STEP_KPA)

    suction += _by_device(levers["suction_bias"])
    suction = _step(suction + normal(noise[_SUC]) * np.float32(0.08), 10)
    by_pressure = fluid * table.by_pressure_size
    superheat = _step(suction - table.dew_c[by_pressure + low_kpa], 10)

    liquid = bubble - _subcooling(plant, running, charge)
    liquid += normal(noise[_LIQ]) * np.float32(0.12)
    subcooling = _step(table.bubble_c[by_pressure + high_kpa] - liquid, 10)

    condenser = (condensing + bubble) * np.float32(0.5)
    current, vibration = _compressor(plant, trace, evaporating, condensing, running, charge, levers)
    vibration *= np.float32(1.0) + np.float32(0.06) * normal(noise[_VIB])
    current *= np.float32(1.0) + np.float32(0.008) * normal(noise[_AMP])

    coil += _by_device(levers["coil_warming"])
    coil += normal(noise[_EVAP]) * np.float32(0.08)
    stuck = levers["stuck"]
    if stuck.any():
        np.copyto(coil, np.float32(STUCK_EVAPORATOR_C), where=_by_device(stuck) > 0)
    reported: dict[str, F32 | Bools] = {
        "temperature_evaporator": _step(coil, 10),
        "temperature_condenser": _step(condenser + normal(noise[_COND]) * np.float32(0.08), 10),
        "temperature_ambient": _step(
            _by_device(ambient_c) + normal(noise[_AMB]) * np.float32(0.08), 10
        ),
        "temperature_discharge": _step(discharge + normal(noise[_DIS]) * np.float32(0.15), 5),
        "temperature_suction": suction,
        "pressure_high_side": high_kpa.astype(np.float32),
        "pressure_low_side": low_kpa.astype(np.float32),
        "current_compressor": _step(current, 10),
        "vibration_compressor": _step(vibration, 20),
        "humidity": _step(_by_device(humidity) + normal(noise[_HUM]) * np.float32(0.4), 2),
        "door_open_close": np.ascontiguousarray(door.T),
        "defrost_cycle": np.ascontiguousarray(trace.defrost.T),
        "superheat": superheat,
        "subcooling": subcooling,
    }
    return Observed(values=reported, liquid_line_c=liquid)


def _low_pressure(
    table: DenseTables, fluid: Ints, evaporating: F32, running: F32, charge: F32
) -> F32:
    """Suction pressure: saturation, pulled down by a lack of refrigerant while running."""
    pressure = table.dew_kpa[_temperature_index(table, fluid, evaporating)]
    pressure *= 1 - (1 - charge) * running
    return pressure


def _subcooling(plant: Plant, running: F32, charge: F32) -> F32:
    """True subcooling: the liquid seal goes with the first quarter of the charge."""
    full = np.maximum(
        plant.subcooling_k[:, None] - np.float32(20.0) * (1 - charge), np.float32(-1.0)
    )
    full -= np.float32(1.0)
    full *= running
    full += np.float32(1.0)
    return np.asarray(full)


def _compressor(
    plant: Plant,
    trace: Trace,
    evaporating: F32,
    condensing: F32,
    running: F32,
    charge: F32,
    levers: Mapping[str, F32],
) -> tuple[F32, F32]:
    """Current in A and vibration in mm/s: mass flow and lift make both, rest leaves a trickle."""
    rated_evaporating = (plant.setpoint_c - plant.evaporator_k)[:, None]
    effort = np.float32(0.010) * (evaporating - rated_evaporating)
    effort += np.float32(0.012) * (condensing - np.float32(REFERENCE_CONDENSING_C))
    effort += 1
    effort *= np.float32(0.65) + np.float32(0.35) * charge
    # Inrush: the motor draws more until the cycle is established.
    effort *= np.float32(1.15) - np.float32(0.15) * running
    on = np.ascontiguousarray(trace.on.T)
    current = plant.rated_current_a[:, None] * effort
    current *= _by_device(levers["current"])
    current *= on
    current += np.float32(0.3)
    vibration = plant.vibration_mm_s[:, None] * (np.float32(0.6) + np.float32(0.4) * effort)
    vibration *= _by_device(levers["vibration"])
    vibration *= on
    vibration += np.float32(0.15)
    return current, vibration


def _by_device(block: F32) -> F32:
    return block.T


def _temperature_index(table: DenseTables, fluid: Ints, celsius: F32) -> Ints:
    steps = (celsius - np.float32(DENSE_LOWEST_C)) * np.float32(DENSE_STEPS_PER_K)
    np.clip(steps, 0, table.by_temperature_size - 1, out=steps)
    index: Ints = np.rint(steps, out=steps).astype(np.int64)
    index += fluid * table.by_temperature_size
    return index


def _whole(pressure: F32, floor: float, step: int) -> Ints:
    """Rounds to whole steps of kilopascals inside what the tables hold."""
    np.clip(pressure, floor, 3600.0, out=pressure)
    pressure /= step
    whole: Ints = np.rint(pressure, out=pressure).astype(np.int64)
    whole *= step
    return whole


def _step(values: F32, steps_per_unit: int) -> F32:
    """Rounds to a sensor's resolution; dividing gives the float32 nearest to the decimal."""
    values *= steps_per_unit
    np.rint(values, out=values)
    values /= steps_per_unit
    return values
