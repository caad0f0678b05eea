"""The registry: where each device stands, what it is made of and what it can report."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from firnline.sim.machine import Plant
from firnline.sim.saturation import REFRIGERANTS
from firnline.sim.sensors import SENSORS
from firnline.sim.streams import CHUNK, Purpose, stream

F32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Region:
    """Where devices stand: the latitude (south negative) and longitude of the region's middle."""

    code: str
    latitude: float
    longitude: float


REGIONS = (
    Region("EU-N", 59.0, 18.0),
    Region("EU-S", 41.0, 12.0),
    Region("US-W", 38.0, -120.0),
    Region("US-E", 41.0, -75.0),
    Region("AP-S", -34.0, 151.0),
)
COHORTS = ("walk_in_freezer", "display_case")
FIRMWARE = ("2.4.1", "2.9.0", "3.1.2", "3.4.0", "3.5.0", "3.6.1", "4.0.2")
_FIRMWARE_SHARE = (0.08, 0.08, 0.10, 0.14, 0.20, 0.25, 0.15)
# Freezers boil at pressures where R134a would be close to vacuum.
_FREEZER_FLUIDS = ("R404A", "R290", "R407C")
_DISPLAY_FLUIDS = ("R404A", "R290", "R134a")
_DISCHARGE_SLOPE = {"R404A": 0.48, "R290": 0.46, "R134a": 0.50, "R407C": 0.60}


@dataclass(frozen=True)
class Device:
    """One line of the registry."""

    device_id: str
    cohort: str
    region: str
    refrigerant: str
    horsepower: int
    firmware: str
    latitude: float
    sensors: tuple[str, ...]


@dataclass(frozen=True)
class Chunk:
    """The constants of up to `CHUNK` neighbouring devices; arrays have shape (n,).

    Attributes:
        number: Of the chunk in the fleet.
        devices: Registry lines.
        plant: Of the machines.
        latitude_rad, longitude_turns: Of the site; the longitude as a part of a day.
        outdoor_share: How much of the outdoor air reaches the condenser, the rest being indoor.
        humidity: Mean relative humidity in percent.
        door_rate: Mean openings a minute.
        null_rate: Share of values that go missing by chance.
        report_second: Of the minute at which the device reports.
        phase: Uniform in [0, 1), spreads first states.
        lacking: Sensors that the firmware does not report, shape (14, n).
    """

    number: int
    devices: tuple[Device, ...]
    plant: Plant
    latitude_rad: F32
    longitude_turns: F32
    outdoor_share: F32
    humidity: F32
    door_rate: F32
    null_rate: F32
    report_second: npt.NDArray[np.int64]
    phase: F32
    lacking: npt.NDArray[np.bool_]

    @property
    def first(self) -> int:
        """Index in the fleet of the chunk's first device."""
        return self.number * CHUNK


def device_id(region: str, index: int) -> str:
    """Returns the id of a device, as ``REF-EU-N-00000042``."""
    return f"REF-{region}-{index:08d}"


def expected_sensors(firmware: str, region: str) -> tuple[str, ...]:
    """Returns the sensors a firmware reports: 12 up to 2.x, 13 from 3.0, all 14 from 3.5.

    The build for AP-S before 3.5 has no humidity channel either.
    """
    major, minor, _ = (int(part) for part in firmware.split("."))
    missing: set[str] = set()
    if major < 3:
        missing |= {"vibration_compressor", "subcooling"}
    elif (major, minor) < (3, 5):
        missing |= {"subcooling"}
    if region == "AP-S" and (major, minor) < (3, 5):
        missing |= {"humidity"}
    return tuple(name for name in SENSORS if name not in missing)


def draw_chunk(seed: int, number: int, count: int) -> Chunk:
    """Draws the constants of the first `count` devices of a chunk."""
    random = stream(seed, Purpose.DEVICE, number, 0)

    def uniform(low: float, high: float) -> npt.NDArray[np.float64]:
        return random.uniform(low, high, CHUNK)

    region = random.integers(0, len(REGIONS), CHUNK)
    freezer = random.random(CHUNK) < 0.5
    fluid_draw = random.integers(0, 3, CHUNK)
    horsepower = random.integers(2, 6, CHUNK)
    firmware = random.choice(len(FIRMWARE), CHUNK, p=_FIRMWARE_SHARE)
    names = [
        (_FREEZER_FLUIDS if cold else _DISPLAY_FLUIDS)[draw]
        for cold, draw in zip(freezer, fluid_draw, strict=True)
    ]
    setpoint = np.where(freezer, -17.0, 1.0) + uniform(-1.2, 1.2)
    band, run_minutes, duty = uniform(2.2, 3.0), uniform(14.0, 24.0), uniform(0.48, 0.62)
    rest_minutes = run_minutes * (1 - duty) / duty
    heating = band / rest_minutes
    interval = np.where(random.random(CHUNK) < 0.8, uniform(360, 480), uniform(240, 720))
    condenser_k, floor = uniform(13.0, 16.0), uniform(25.0, 28.0)
    # Per-device offsets of a tenth of the spread, as for every baseline.
    current = 3.0 * horsepower * (1 + 0.03 * random.standard_normal(CHUNK))
    vibration = 3.0 + 0.25 * np.clip(random.standard_normal(CHUNK), -2.5, 2.5)
    plant = {
        "setpoint_c": setpoint,
        "band_k": band,
        "wall_per_minute": 0.85 * heating / (20.0 - setpoint),
        "cooling_k_per_minute": heating / duty,
        "evaporator_k": uniform(6.3, 7.7),
        "condenser_k": condenser_k,
        "condensing_floor_c": floor,
        "superheat_k": uniform(6.5, 9.5),
        "subcooling_k": uniform(4.5, 7.0),
        "discharge_slope": np.array([_DISCHARGE_SLOPE[name] for name in names]),
        "defrost_interval_minutes": interval,
        "defrost_minutes": np.round(np.where(freezer, uniform(20, 28), uniform(14, 20))),
        "rated_current_a": current,
        "vibration_mm_s": vibration,
    }
    latitude = np.array([REGIONS[r].latitude for r in region]) + uniform(-4.0, 4.0)
    longitude = np.array([REGIONS[r].longitude for r in region])
    site = {
        "latitude_rad": np.radians(latitude),
        "longitude_turns": longitude / 360.0,
        "outdoor_share": uniform(0.25, 0.6),
        "humidity": uniform(38.0, 58.0),
        "door_rate": np.where(freezer, uniform(0.006, 0.02), uniform(0.012, 0.04)),
        "null_rate": uniform(0.002, 0.02),
        "phase": uniform(0.0, 1.0),
    }
    codes = [REGIONS[r].code for r in region]
    devices = tuple(
        Device(
            device_id=device_id(codes[i], number * CHUNK + i),
            cohort=COHORTS[0] if freezer[i] else COHORTS[1],
            region=codes[i],
            refrigerant=names[i],
            horsepower=int(horsepower[i]),
            firmware=FIRMWARE[firmware[i]],
            latitude=round(float(latitude[i]), 2),
            sensors=expected_sensors(FIRMWARE[firmware[i]], codes[i]),
        )
        for i in range(count)
    )
    return Chunk(
        number=number,
        devices=devices,
        lacking=np.array([[name not in device.sensors for device in devices] for name in SENSORS]),
        plant=Plant(
            **{name: values.astype(np.float32) for name, values in plant.items()},
            refrigerant=np.array([REFRIGERANTS.index(name) for name in names]),
        ).first(count),
        report_second=random.integers(0, 60, CHUNK)[:count],
        **{name: values[:count].astype(np.float32) for name, values in site.items()},
    )
