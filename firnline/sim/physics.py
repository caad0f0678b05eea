"""The vapour-compression cycle of many devices, minute by minute.

A lumped model: one air node under a thermostat with hysteresis, an evaporator and a condenser
in balance with the compressor, and first-order lags for what the sensors touch. Devices lie
along the last axis, so a minute is some fifty vector operations whatever their number.
Temperatures are in C, rates per minute, arrays float32.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from firnline.sim.machine import (
    COIL,
    CONDENSING,
    DISCHARGE,
    EVAPORATING,
    REFERENCE_CONDENSING_C,
    RUNNING,
    SUCTION,
    Plant,
    State,
)

F32 = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

CAPACITY_PER_K_EVAPORATING = 0.03
CAPACITY_PER_K_CONDENSING = 0.008
REFERENCE_ROOM_C = 20.0
HIGHEST_EVAPORATING_C = 4.0
DEFROST_END_C = 8.0
DEFROST_K_PER_MINUTE = 1.5
CONDENSER_STANDBY_C = 24.0
DISCHARGE_STANDBY_C = 36.0

# 1 - exp(-1/tau) for time constants in minutes, running and at rest.
_CYCLE_RATE_ON = np.array([[0.28], [0.28], [0.50]], dtype=np.float32)
_CYCLE_RATE_OFF = np.array([[0.10], [0.10], [0.22]], dtype=np.float32)
_FOLLOWER_RATE_ON = np.array([[0.45], [0.20], [0.45]], dtype=np.float32)
_FOLLOWER_RATE_OFF = np.array([[0.22], [0.07], [0.45]], dtype=np.float32)


@dataclass(frozen=True)
class Forcing:
    """What acts on the devices from outside.

    Attributes:
        ambient_c: Air at the condenser, shape (m, n).
        heat_k_per_minute: Doors, goods and people, as a pull on the air, shape (m, n).
        defrost_jitter_minutes: Added to the next interval, shape (n,).
    """

    ambient_c: F32
    heat_k_per_minute: F32
    defrost_jitter_minutes: F32


@dataclass(frozen=True)
class Trace:
    """The block as it happened; rows as named at the top of the module.

    Attributes:
        cycle: Shape (m, 3, n).
        followers: Shape (m, 3, n).
        box_c: Air temperature, shape (m, n).
        on: Compressor running, shape (m, n).
        defrost: Defrost under way, shape (m, n).
    """

    cycle: F32
    followers: F32
    box_c: F32
    on: Bools
    defrost: Bools


def run(
    plant: Plant, state: State, forcing: Forcing, levers: Mapping[str, F32]
) -> tuple[State, Trace]:
    """Advances every device by a block of at most four hours.

    The split of time into blocks does not matter, as long as the next block's defrost jitter
    is that of the block in which its defrost ends: two of 30 minutes give what one of 60 gives.

    Args:
        plant: Constants of n devices.
        state: As left by the minute before.
        forcing: Of m minutes.
        levers: Each of shape (m, n), as `faults.levers` makes them.

    Returns:
        The state after the block, and the block.
    """
    timer = _defrost_timer(plant, state.to_defrost_minutes, forcing)
    defrost = timer <= 0
    course = _course(plant, forcing, levers, timer)
    cycle, box, on, locked = _run_cycle(plant, state, course, defrost)
    followers = _run_followers(plant, state.followers, course, cycle, on)
    end = State(
        cycle=cycle[-1].copy(),
        followers=followers[-1].copy(),
        box_c=box[-1].copy(),
        on=on[-1].copy(),
        locked_minutes=locked,
        to_defrost_minutes=timer[-1].copy(),
    )
    return end, Trace(cycle, followers, box, on, defrost)


def _defrost_timer(plant: Plant, to_defrost: F32, forcing: Forcing) -> F32:
    """Counts down to each defrost and, below zero, through it; shape (m, n)."""
    minute = np.arange(1, len(forcing.ambient_c) + 1, dtype=np.float32)[:, None]
    over = np.float32(0.5) - plant.defrost_minutes
    timer = to_defrost - minute
    wraps_at = np.ceil(to_defrost - over)
    again = plant.defrost_interval_minutes + forcing.defrost_jitter_minutes + wraps_at - minute
    return np.asarray(np.where(timer <= over, again, timer))


_CYCLE_ROWS = 8


@dataclass(frozen=True)
class _Course:
    """What the block imposes, each of shape (m, n); the cycle's loop reads the first eight.

    Attributes:
        heat: Pull of walls, doors and goods on the air, in K a minute.
        stop_c: Air temperature below which the compressor stops.
        start_c: Air temperature above which it starts.
        evaporator_k: Air-to-refrigerant difference at rated capacity.
        cooling: Pull on the air per kelvin of that difference.
        condenser_k: Refrigerant-to-ambient difference at rated capacity.
        ambient_c: Air at the condenser.
        condensing_off: What the condenser falls back to at rest.
        shortest: Minutes the compressor stays as it is after a switch.
        superheat_k: What the valve holds.
        discharge_base: Discharge above condensing temperature without lift.
        discharge_off: What the discharge line falls back to at rest.
    """

    heat: F32
    stop_c: F32
    start_c: F32
    evaporator_k: F32
    cooling: F32
    condenser_k: F32
    ambient_c: F32
    condensing_off: F32
    shortest: F32
    superheat_k: F32
    discharge_base: F32
    discharge_off: F32


def _course(plant: Plant, forcing: Forcing, levers: Mapping[str, F32], timer: F32) -> _Course:
    """Lays out the block: set-points, loads and exchangers, with the faults' levers pulled."""
    ambient = forcing.ambient_c
    airflow, charge = levers["airflow"], levers["charge"]
    room = np.float32(REFERENCE_ROOM_C - 3.0) + np.float32(0.2) * ambient
    setpoint = plant.setpoint_c + levers["setpoint_rise"]
    half_band = np.float32(0.5) * plant.band_k * levers["band"]
    superheat = plant.superheat_k - np.float32(6.0) * (1 - airflow) + levers["hunting"]
    # Frost narrows the evaporator by a tenth until the next defrost clears it.
    frost = np.float32(1.10) - timer * (np.float32(0.10) / plant.defrost_interval_minutes)
    evaporator_k = plant.evaporator_k * frost / airflow
    return _Course(
        heat=plant.wall_per_minute * room + forcing.heat_k_per_minute,
        stop_c=setpoint - half_band,
        start_c=setpoint + half_band,
        evaporator_k=evaporator_k,
        cooling=plant.cooling_k_per_minute * charge / evaporator_k,
        condenser_k=plant.condenser_k / levers["condenser_flow"],
        ambient_c=ambient,
        condensing_off=np.maximum(ambient + np.float32(2.0), np.float32(CONDENSER_STANDBY_C)),
        shortest=np.float32(1.0) + np.float32(4.0) * levers["band"],
        superheat_k=superheat,
        discharge_base=np.float32(4.0) + superheat + np.float32(20.0) * (1 - charge),
        discharge_off=np.maximum(ambient + np.float32(8.0), np.float32(DISCHARGE_STANDBY_C)),
    )


def _run_cycle(
    plant: Plant, state: State, course: _Course, defrost: Bools
) -> tuple[F32, F32, Bools, F32]:
    """Runs thermostat, compressor and exchangers; returns the cycle, the air, on, and the lock.

    Compressor capacity falls by 3 % a kelvin of evaporating and 0.8 % a kelvin of condensing
    temperature, the slope of published reciprocating-compressor polynomials (EN 12900) around
    -25/35 C. The evaporator exchanges in proportion to its air-side difference, and the two
    meet where they balance.
    """
    minutes, devices = defrost.shape
    cycles = np.empty((minutes, 3, devices), dtype=np.float32)
    boxes = np.empty((minutes, devices), dtype=np.float32)
    ons = np.empty((minutes, devices), dtype=np.bool_)
    cycle, box, on = state.cycle, state.box_c, state.on
    coil, evaporating = cycle[COIL], cycle[EVAPORATING]
    above_coil, defrost_step, defrost_end, warmest = (
        np.full(devices, value, dtype=np.float32)
        for value in (1.5, DEFROST_K_PER_MINUTE, DEFROST_END_C, HIGHEST_EVAPORATING_C)
    )
    floor, keep = plant.condensing_floor_c, 1 - plant.wall_per_minute
    weights = np.zeros_like(cycle)
    weights[CONDENSING] = -CAPACITY_PER_K_CONDENSING
    weights[EVAPORATING] = CAPACITY_PER_K_EVAPORATING
    rated = plant.setpoint_c - plant.evaporator_k
    base = 1 - weights[EVAPORATING] * rated
    base -= weights[CONDENSING] * np.float32(REFERENCE_CONDENSING_C)
    rate_on = np.broadcast_to(_CYCLE_RATE_ON, cycle.shape).copy()
    rate_off = np.broadcast_to(_CYCLE_RATE_OFF, cycle.shape).copy()
    # Locks are kept as the minute of release, which saves counting them down.
    minute = np.arange(minutes, dtype=np.float32)[:, None]
    clock = np.broadcast_to(minute, boxes.shape).copy()
    release, released = minute + course.shortest, state.locked_minutes.copy()
    to_on, to_off, weighted = np.empty_like(cycle), np.empty_like(cycle), np.empty_like(cycle)
    capacity, cooling, scratch = np.empty_like(box), np.empty_like(box), np.empty_like(box)
    free, start, stop = (np.empty(devices, dtype=np.bool_) for _ in range(3))
    read = (list(getattr(course, field.name)) for field in fields(course)[:_CYCLE_ROWS])
    written = (list(cycles), list(boxes), list(ons), list(defrost))
    defrosts = [bool(row.any()) for row in defrost]
    # Arithmetic goes into buffers made beforehand: at a few hundred devices a minute costs
    # the calls, and an allocation would double each.
    for (
        heat, stop_c, start_c, evaporator_k, cooling_k, condenser_k, ambient, rest,
        now, until, next_cycle, next_box, next_on, defrosting, any_defrosting,
    ) in zip(*read, clock, release, *written, defrosts, strict=True):  # fmt: skip
        np.less_equal(released, now, free)
        np.greater(box, start_c, start)
        np.logical_and(start, free, start)
        np.less(box, stop_c, stop)
        np.logical_and(stop, free, stop)
        if any_defrosting:
            np.logical_or(stop, defrosting, stop)
        np.logical_or(start, on, start)
        np.greater(start, stop, next_on)
        np.not_equal(next_on, on, free)
        np.putmask(released, free, until)
        on = next_on

        np.multiply(cycle, weights, weighted)
        np.add(weighted[CONDENSING], base, capacity)
        np.add(weighted[EVAPORATING], capacity, capacity)
        np.subtract(box, evaporating, cooling)
        np.multiply(cooling, cooling_k, cooling)
        np.multiply(cooling, on, cooling)

        np.add(evaporating, above_coil, to_on[COIL])
        np.multiply(condenser_k, capacity, scratch)
        np.add(scratch, ambient, scratch)
        np.maximum(scratch, floor, out=to_on[CONDENSING])
        np.multiply(capacity, evaporator_k, capacity)
        np.subtract(box, capacity, to_on[EVAPORATING])
        to_off[COIL] = box
        to_off[CONDENSING] = rest
        to_off[EVAPORATING] = coil
        np.subtract(to_on, cycle, to_on)
        np.multiply(to_on, rate_on, to_on)
        np.subtract(to_off, cycle, to_off)
        np.multiply(to_off, rate_off, to_off)
        np.add(cycle, np.where(on, to_on, to_off), next_cycle)
        if any_defrosting:
            np.add(coil, defrost_step, scratch)
            np.minimum(scratch, defrost_end, out=scratch)
            np.putmask(next_cycle[COIL], defrosting, scratch)
            np.minimum(next_cycle[EVAPORATING], warmest, out=next_cycle[EVAPORATING])
        np.multiply(box, keep, next_box)
        np.add(next_box, heat, next_box)
        np.subtract(next_box, cooling, next_box)
        cycle, box = next_cycle, next_box
        coil, evaporating = cycle[COIL], cycle[EVAPORATING]
    return cycles, boxes, ons, released - np.float32(minutes)


def _run_followers(plant: Plant, state: F32, course: _Course, cycle: F32, on: Bools) -> F32:
    """Lags suction, discharge and flow behind the cycle they follow; shape (m, 3, n)."""
    condensing, evaporating = cycle[:, CONDENSING], cycle[:, EVAPORATING]
    followers = np.empty_like(cycle)
    running = on.astype(np.float32)
    followers[:, SUCTION] = evaporating + np.where(on, course.superheat_k, np.float32(5.0))
    hot = (condensing - evaporating) * plant.discharge_slope
    hot += condensing
    hot += course.discharge_base
    followers[:, DISCHARGE] = np.where(on, hot, course.discharge_off)
    followers[:, RUNNING] = running
    rate = running[:, None] * (_FOLLOWER_RATE_ON - _FOLLOWER_RATE_OFF)
    rate += _FOLLOWER_RATE_OFF
    followers *= rate
    keep = 1 - rate
    last, scratch = state, np.empty_like(state)
    for row, kept in zip(followers, keep, strict=True):
        np.multiply(last, kept, scratch)
        np.add(row, scratch, row)
        last = row
    return followers
