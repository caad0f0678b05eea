"""The faults: each a pure function from hours since onset to the levers it pulls.

A lever is a physical cause (refrigerant charge, air over the evaporator) or what happens to an
instrument. The cycle carries the cause to every sensor it reaches, so a leak lowers the
suction pressure, raises superheat, lowers subcooling and lengthens the running time at once.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
Scalar = np.float32
Pulled = dict[str, F32]

NEUTRAL: dict[str, float] = {
    "charge": 1.0,
    "condenser_flow": 1.0,
    "airflow": 1.0,
    "setpoint_rise": 0.0,
    "coil_warming": 0.0,
    "hunting": 0.0,
    "band": 1.0,
    "vibration": 1.0,
    "current": 1.0,
    "suction_bias": 0.0,
    "low_pressure_bias": 0.0,
    "stuck": 0.0,
    "dropout": 0.0,
}
"""Every lever and its value on a healthy device; gains are 1, offsets (K, kPa) are 0."""

STUCK_EVAPORATOR_C = -25.0


def compressor_vibration_spike(hours: F32, severity: Scalar, variant: Scalar) -> Pulled:
    """A bearing gives way: vibration about x4, current about x1.5, from one minute to the next."""
    return {
        "vibration": _like(hours, 1 + 3 * severity),
        "current": _like(hours, 1 + np.float32(0.5) * severity),
    }


def refrigerant_leak(hours: F32, severity: Scalar, variant: Scalar) -> Pulled:
    """A fast leak: suction pressure x max(0.3, 1 - 0.03 h), the starved coil warms 0.5 K/h."""
    return {
        "charge": np.maximum(np.float32(0.3), 1 - np.float32(0.03) * severity * hours),
        "coil_warming": np.minimum(np.float32(0.5) * severity * hours, np.float32(9.0)),
    }


def temperature_drift(hours: F32, severity: Scalar, variant: Scalar) -> Pulled:
    """The controller loses its set-point: the cold side creeps up by 0.2 K/h."""
    return {"setpoint_rise": np.minimum(np.float32(0.2) * severity * hours, np.float32(10.0))}


def sensor_failure(hours: F32, severity: Scalar, variant: Scalar) -> Pulled:
    """The evaporator probe reports one value for ever."""
    return {"stuck": np.ones_like(hours)}


def intermittent_dropout(hours: F32, severity: Scalar, variant: Scalar) -> Pulled:
    """About three readings in ten arrive with every sensor missing."""
    return {"dropout": _like(hours, np.float32(0.3) * severity)}


def condenser_fouling(hours: F32, severity: Scalar, variant: Scalar) -> Pulled:
    """Dirt closes the condenser over days: condensing temperature and current rise."""
    closed = np.float32(0.55) * severity * (1 - np.exp(hours / np.float32(-45.0)))
    return {"condenser_flow": np.maximum(1 - closed, np.float32(0.3))}


def evaporator_fan_failure(hours: F32, severity: Scalar, variant: Scalar) -> Pulled:
    """Air over the evaporator falls by half: low suction pressure, little superheat, long runs."""
    return {"airflow": _like(hours, 1 - np.float32(0.55) * severity)}


def valve_hunting(hours: F32, severity: Scalar, variant: Scalar) -> Pulled:
    """The expansion valve chases itself: superheat swings with a period of 5 to 9 minutes."""
    minutes = np.float32(5.0) + np.float32(4.0) * variant
    swing = np.sin(hours * (np.float32(2 * np.pi * 60.0) / minutes))
    return {"hunting": np.float32(5.0) * severity * swing}


def slow_leak(hours: F32, severity: Scalar, variant: Scalar) -> Pulled:
    """A seeping joint: a few percent of the charge a day, subcooling goes first."""
    return {"charge": np.maximum(np.float32(0.55), 1 - np.float32(0.003) * severity * hours)}


def short_cycling(hours: F32, severity: Scalar, variant: Scalar) -> Pulled:
    """The thermostat's band collapses: runs of 2 to 5 minutes instead of 10 to 30."""
    return {"band": _like(hours, np.float32(0.2) - np.float32(0.08) * severity)}


def sensor_drift(hours: F32, severity: Scalar, variant: Scalar) -> Pulled:
    """The suction probe or the low-pressure transducer walks; what it measures does not.

    Either way the computed superheat rises while subcooling, current and duty stay.
    """
    walked = np.minimum(np.float32(0.1) * severity * hours, np.float32(8.0))
    if variant < 0.5:
        return {"suction_bias": walked}
    return {"low_pressure_bias": np.float32(-9.0) * walked}


def _like(hours: F32, value: Scalar) -> F32:
    return np.full_like(hours, value)


Fault = Callable[[F32, Scalar, Scalar], Pulled]


@dataclass(frozen=True)
class Kind:
    """A fault and how long it goes unrepaired, in hours, from and to."""

    apply: Fault
    shortest_hours: int
    longest_hours: int


FAULTS: dict[str, Kind] = {
    kind.apply.__name__: kind
    for kind in (
        Kind(compressor_vibration_spike, 10, 36),
        Kind(refrigerant_leak, 16, 36),
        Kind(temperature_drift, 24, 60),
        Kind(sensor_failure, 12, 48),
        Kind(intermittent_dropout, 12, 48),
        Kind(condenser_fouling, 60, 120),
        Kind(evaporator_fan_failure, 12, 48),
        Kind(valve_hunting, 18, 72),
        Kind(slow_leak, 72, 130),
        Kind(short_cycling, 12, 60),
        Kind(sensor_drift, 60, 120),
    )
}


@dataclass(frozen=True)
class Acting:
    """One fault at work in a block.

    Attributes:
        column: Of the device in the block.
        fault: Key of `FAULTS`.
        from_minute: Onset, in minutes from the block's first; negative if it came before.
        to_minute: Repair, exclusive, likewise.
        severity: About 0.7 to 1.3; 1 is the page's own figure.
        variant: Uniform in [0, 1), for a fault that has kinds.
    """

    column: int
    fault: str
    from_minute: int
    to_minute: int
    severity: float
    variant: float


def levers(acting: Iterable[Acting], minutes: int, devices: int) -> Pulled:
    """Returns every lever as (minutes, devices), neutral wherever no fault is at work."""
    shape = (minutes, devices)
    pulled: Pulled = {
        name: np.broadcast_to(np.float32(value), shape) for name, value in NEUTRAL.items()
    }
    minute = np.arange(minutes, dtype=np.float32)
    for one in acting:
        rows = slice(max(one.from_minute, 0), min(one.to_minute, minutes))
        hours = (minute[rows] - np.float32(one.from_minute)) / np.float32(60.0)
        kind = FAULTS[one.fault]
        for name, values in kind.apply(
            hours, np.float32(one.severity), np.float32(one.variant)
        ).items():
            if not pulled[name].flags.writeable:
                pulled[name] = pulled[name].copy()
            pulled[name][rows, one.column] = values
    return pulled
