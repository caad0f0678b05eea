"""An hour of a chunk: weather, doors, cycle, instruments, and what goes missing or wrong."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from firnline.sim import physics
from firnline.sim.dirt import Dirt, draw_dirt
from firnline.sim.faults import Acting, levers
from firnline.sim.fleet import WEEK_MINUTES, Episode, Fleet
from firnline.sim.machine import State, settle
from firnline.sim.physics import Forcing
from firnline.sim.registry import Chunk
from firnline.sim.sensors import NOISE_ROWS, SENSORS, observe
from firnline.sim.streams import CHUNK, Purpose, bits, normal, stream

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

HOUR = 60
WARM_UP_HOURS = 2
HIGHEST_NULL_RATE = 0.02
DOOR_K_PER_MINUTE = 0.12
INDOOR_C = 21.0
_DOOR_TAIL = 3

# Rows of the hourly weather draw, and the hour-to-hour memory and spread of each.
_OUTDOOR, _LOAD, _HUMIDITY = range(3)
_MEMORY = np.array([[0.85], [0.7], [0.8]], dtype=np.float32)
_SPREAD = np.array([[1.6], [0.009], [4.0]], dtype=np.float32)


@dataclass(frozen=True)
class ChunkState:
    """What one hour of a chunk hands to the next.

    Attributes:
        machine: Of the cycle.
        slow: Weather in K, load in K a minute and humidity in percent, shape (3, n).
        door_minutes: For how long doors were opened in each of the last minutes, shape (3, n).
    """

    machine: State
    slow: F32
    door_minutes: npt.NDArray[np.int8]


@dataclass(frozen=True)
class Block:
    """The readings of n devices in one hour, device by device.

    Attributes:
        hour: From the fleet's start.
        values: By sensor, shape (n, 60).
        missing: By sensor in the order of `SENSORS`, shape (14, n, 60).
        latency_tenths: From the device's clock to ingestion, in tenths of a second, (n, 60).
        dirt: What was spoilt, already applied to `values` and `missing`.
    """

    hour: int
    values: dict[str, F32 | Bools]
    missing: Bools
    latency_tenths: npt.NDArray[np.int64]
    dirt: Dirt


def hours(fleet: Fleet, number: int) -> Iterator[Block]:
    """Yields a chunk hour by hour, after a warm-up that is thrown away."""
    chunk = fleet.chunk(number)
    state = warmed_up(fleet, chunk)
    episodes: list[Episode] = []
    for hour in range(fleet.spec.days * 24):
        if hour * HOUR % WEEK_MINUTES == 0:
            episodes = fleet.episodes(number, hour * HOUR // WEEK_MINUTES)
        state, block = advance(fleet, chunk, state, hour, episodes)
        yield block


def warmed_up(fleet: Fleet, chunk: Chunk) -> ChunkState:
    """Runs a chunk through the hours before the fleet's start and returns where it stands."""
    state = first_state(chunk)
    for hour in range(-WARM_UP_HOURS, 0):
        state, _ = advance(fleet, chunk, state, hour, ())
    return state


def first_state(chunk: Chunk) -> ChunkState:
    """Returns the state before the warm-up."""
    return ChunkState(
        machine=settle(chunk.plant, chunk.phase),
        slow=np.zeros((3, len(chunk.devices)), dtype=np.float32),
        door_minutes=np.zeros((_DOOR_TAIL, len(chunk.devices)), dtype=np.int8),
    )


def advance(
    fleet: Fleet, chunk: Chunk, state: ChunkState, hour: int, episodes: Sequence[Episode]
) -> tuple[ChunkState, Block]:
    """Simulates one hour of one chunk."""
    spec, count = fleet.spec, len(chunk.devices)
    tick = hour + WARM_UP_HOURS
    weather = stream(spec.seed, Purpose.WEATHER, chunk.number, tick)
    draws = normal(bits(weather, (4, CHUNK)))[:, :count]
    slow = state.slow * _MEMORY + _SPREAD * draws[:3]
    part = np.arange(1, HOUR + 1, dtype=np.float32)[:, None, None] / np.float32(HOUR)
    course = state.slow + (slow - state.slow) * part

    day = _fractional_day(fleet, hour)
    outdoor = outdoor_c(chunk, day)
    outdoor += course[:, _OUTDOOR]
    indoor = np.float32(INDOOR_C)
    ambient = indoor + chunk.outdoor_share * (outdoor - indoor)
    humidity = chunk.humidity + course[:, _HUMIDITY] - (ambient - indoor)
    np.clip(humidity, 8.0, 92.0, out=humidity)
    openings = bits(weather, (HOUR, CHUNK))[:, :count]
    door, door_minutes = doors(chunk, day, openings, state.door_minutes)

    pulled = levers(_acting(chunk, hour, episodes), HOUR, count)
    heat = door.astype(np.float32) * np.float32(DOOR_K_PER_MINUTE)
    heat += course[:, _LOAD]
    forcing = Forcing(
        ambient_c=ambient,
        heat_k_per_minute=heat,
        defrost_jitter_minutes=draws[3] * np.float32(4.0),
    )
    machine, trace = physics.run(chunk.plant, state.machine, forcing, pulled)
    instruments = stream(spec.seed, Purpose.SENSOR, chunk.number, tick)
    noise = bits(instruments, (NOISE_ROWS + 1, CHUNK, HOUR))[:, :count]
    values = observe(chunk.plant, trace, ambient, humidity, door, pulled, noise[:NOISE_ROWS]).values
    missing = _missing(fleet, chunk, tick, pulled["dropout"])
    dirt = draw_dirt(spec.seed, spec.dirt, chunk.number, tick, count)
    dirt = dirt.spoil(values, missing)
    block = Block(
        hour=hour,
        values=values,
        missing=missing,
        latency_tenths=10 + (noise[NOISE_ROWS] % np.uint16(91)).astype(np.int64),
        dirt=dirt,
    )
    return ChunkState(machine, slow, door_minutes), block


def _fractional_day(fleet: Fleet, hour: int) -> F64:
    """Days since the year's first midnight at each minute of the hour, shape (60, 1)."""
    of_year = fleet.spec.start.timetuple().tm_yday - 1
    return (of_year + (hour * HOUR + np.arange(HOUR)) / 1440.0)[:, None]


def outdoor_c(chunk: Chunk, day: F64) -> F32:
    """Mean outdoor temperature by latitude, season and local hour, shape (m, n).

    A first-harmonic climatology: the annual mean falls and the annual swing grows with
    latitude, July is warmest in the north and January in the south, 15 h is warmest in a day.
    """
    latitude = np.degrees(chunk.latitude_rad)
    mean = np.float32(29.0) - np.float32(0.40) * np.abs(latitude)
    swing = np.float32(0.22) * latitude
    year = np.cos((day - 200.0) * (2 * np.pi / 365.25)).astype(np.float32)
    hours_turned = (day % 1.0).astype(np.float32) + chunk.longitude_turns - np.float32(15 / 24)
    daily = np.cos(hours_turned * np.float32(2 * np.pi))
    return np.asarray(mean + swing * year + np.float32(4.5) * daily)


def doors(
    chunk: Chunk, day: F64, openings: npt.NDArray[np.uint16], before: npt.NDArray[np.int8]
) -> tuple[Bools, npt.NDArray[np.int8]]:
    """Opens doors at random, more by day, for one to four minutes; shapes (m, n) and (3, n)."""
    local = (day % 1.0).astype(np.float32) + chunk.longitude_turns
    busy = np.float32(1.0) - np.float32(0.9) * np.cos(
        (local - np.float32(2 / 24)) * np.float32(2 * np.pi)
    )
    limit = (chunk.door_rate * busy * np.float32(65536.0)).astype(np.uint16)
    minutes = np.where(openings < limit, (openings & 3) + 1, 0).astype(np.int8)
    minutes = np.concatenate([before, minutes])
    is_open = minutes[_DOOR_TAIL:] > 0
    for ago in range(1, _DOOR_TAIL + 1):
        is_open |= minutes[_DOOR_TAIL - ago : -ago] > ago
    return is_open, minutes[-_DOOR_TAIL:]


def _acting(chunk: Chunk, hour: int, episodes: Sequence[Episode]) -> Iterator[Acting]:
    first = hour * HOUR
    for one in episodes:
        if one.start_minute < first + HOUR and one.end_minute > first:
            yield Acting(
                column=one.index - chunk.first,
                fault=one.fault,
                from_minute=one.start_minute - first,
                to_minute=one.end_minute - first,
                severity=one.severity,
                variant=one.variant,
            )


def _missing(fleet: Fleet, chunk: Chunk, tick: int, dropout: F32) -> Bools:
    """Marks what the firmware lacks, what is lost by chance, and whole lost readings."""
    count = len(chunk.devices)
    missing = np.empty((len(SENSORS), count, HOUR), dtype=np.bool_)
    missing[:] = chunk.lacking[:, :, None]
    gaps = stream(fleet.spec.seed, Purpose.GAP, chunk.number, tick)
    # Candidates at the highest rate, thinned to each device's own: far fewer draws than values.
    candidates = int(gaps.poisson(HIGHEST_NULL_RATE * len(SENSORS) * CHUNK * HOUR))
    draws = bits(gaps, (4, candidates)).astype(np.int64)
    sensor, device, minute = (
        draws[row] * size >> 16 for row, size in enumerate((len(SENSORS), CHUNK, HOUR))
    )
    chosen = np.flatnonzero(device < count)
    device = device[chosen]
    limit = chunk.null_rate[device] * np.float32(65536.0 / HIGHEST_NULL_RATE)
    keep = draws[3, chosen] < limit
    chosen = chosen[keep]
    missing[sensor[chosen], device[keep], minute[chosen]] = True
    if dropout.any():
        lost = bits(gaps, (CHUNK, HOUR))[:count]
        missing |= lost < (dropout.T * np.float32(65536.0))
    return missing
