"""What a refrigeration machine is, and what it hands from one minute to the next."""

from dataclasses import dataclass, fields
from typing import Self

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

REFERENCE_CONDENSING_C = 35.0

# Rows of the states that the cycle runs on, then of those that only the instruments see.
COIL, CONDENSING, EVAPORATING = range(3)
SUCTION, DISCHARGE, RUNNING = range(3)


@dataclass(frozen=True)
class Plant:
    """What does not change about each device; every field has shape (n,).

    Attributes:
        setpoint_c: Mean air temperature the thermostat keeps.
        band_k: Hysteresis between starting and stopping the compressor.
        wall_per_minute: Share of the room-to-box difference that leaks in each minute.
        cooling_k_per_minute: Pull on the air at rated capacity.
        evaporator_k: Rated difference between the air and the evaporating temperature.
        condenser_k: Rated difference between the condensing temperature and the ambient air.
        condensing_floor_c: Head-pressure control keeps the condenser above this.
        superheat_k: What the expansion valve aims at.
        subcooling_k: Healthy subcooling of the running machine.
        discharge_slope: Discharge rise per kelvin of lift; depends on the refrigerant.
        defrost_interval_minutes: Between starts of defrosts.
        defrost_minutes: Duration of one.
        rated_current_a: Running current at rated conditions.
        vibration_mm_s: Running vibration at rated current.
        refrigerant: Index into `saturation.REFRIGERANTS`, int64.
    """

    setpoint_c: F32
    band_k: F32
    wall_per_minute: F32
    cooling_k_per_minute: F32
    evaporator_k: F32
    condenser_k: F32
    condensing_floor_c: F32
    superheat_k: F32
    subcooling_k: F32
    discharge_slope: F32
    defrost_interval_minutes: F32
    defrost_minutes: F32
    rated_current_a: F32
    vibration_mm_s: F32
    refrigerant: npt.NDArray[np.int64]

    def first(self, count: int) -> Self:
        """Returns the plant of the first `count` devices."""
        return type(self)(*(getattr(self, field.name)[:count] for field in fields(self)))


@dataclass(frozen=True)
class State:
    """What one minute hands to the next.

    Attributes:
        cycle: Coil, condensing and evaporating temperature, shape (3, n).
        followers: Suction and discharge temperature and how established the flow is, (3, n).
        box_c: Air temperature, shape (n,).
        on: Compressor running, shape (n,).
        locked_minutes: Until the compressor may switch again, shape (n,).
        to_defrost_minutes: Until the next defrost; at or below zero one is under way.
    """

    cycle: F32
    followers: F32
    box_c: F32
    on: Bools
    locked_minutes: F32
    to_defrost_minutes: F32


def settle(plant: Plant, phase: F32) -> State:
    """Returns a plausible first state; `phase` in [0, 1) of shape (n,) spreads the defrosts."""
    box = plant.setpoint_c
    coil = box - plant.evaporator_k
    discharge, running = np.full_like(box, 55.0), np.ones_like(box)
    return State(
        cycle=np.stack([coil, np.full_like(box, REFERENCE_CONDENSING_C), coil]),
        followers=np.stack([coil + plant.superheat_k, discharge, running]),
        box_c=box.copy(),
        on=np.ones(box.shape, dtype=np.bool_),
        locked_minutes=phase * np.float32(5.0),
        to_defrost_minutes=phase * plant.defrost_interval_minutes,
    )
