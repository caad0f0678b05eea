"""The fleet as a value: what was asked for, which devices that makes, and when each is faulty."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from firnline.errors import ContractError
from firnline.sim.faults import FAULTS
from firnline.sim.registry import Chunk, Device, draw_chunk
from firnline.sim.streams import CHUNK, Purpose, stream

WEEK_MINUTES = 7 * 24 * 60
_GOLDEN = (5**0.5 - 1) / 2


@dataclass(frozen=True)
class FleetSpec:
    """What to simulate.

    Attributes:
        devices: How many.
        days: How many, from `start`.
        seed: Any integer from 0 to 2**63 - 1.
        start: Midnight UTC of the first day.
        fault_share: Share of the devices that have a fault within any one week.
        dirt: Share of rows spoilt in each of five ways, to give a quarantine something to hold.

    Raises:
        ContractError: SIM1 when a figure is out of range.
    """

    devices: int = 200
    days: int = 7
    seed: int = 42
    start: datetime = datetime(2026, 2, 2, tzinfo=UTC)
    fault_share: float = 0.28
    dirt: float = 1e-4

    def __post_init__(self) -> None:
        midnight = datetime(self.start.year, self.start.month, self.start.day, tzinfo=UTC)
        for name, fits, rule in (
            ("devices", 1 <= self.devices < 16**7, "1 to 268 million"),
            ("days", 1 <= self.days <= 36_500, "1 to 36500"),
            ("seed", 0 <= self.seed < 2**63, "0 to 2**63 - 1"),
            ("start", self.start == midnight and self.start.tzinfo is not None, "midnight UTC"),
            ("fault_share", 0.0 <= self.fault_share <= 1.0, "0 to 1"),
            ("dirt", 0.0 <= self.dirt <= 0.05, "0 to 0.05"),
        ):
            if not fits:
                raise ContractError(
                    "SIM1",
                    found=f"{name} = {getattr(self, name)}",
                    where="FleetSpec",
                    mend=f"give {name} a value of {rule}",
                )

    @property
    def end(self) -> datetime:
        """The end of the last day, exclusive."""
        return self.start + timedelta(days=self.days)


@dataclass(frozen=True)
class Episode:
    """One fault of one device, from its onset to its repair or the end of the simulation.

    Attributes:
        index: Of the device in the fleet.
        start_minute: Minutes from the fleet's start, inclusive.
        end_minute: Likewise, exclusive.
        fault: Key of `faults.FAULTS`.
        severity: 0.7 to 1.3 of the fault's own figures.
        variant: Uniform in [0, 1); which instrument drifts, how fast a valve hunts.
    """

    index: int
    start_minute: int
    end_minute: int
    fault: str
    severity: float
    variant: float


@dataclass(frozen=True)
class Fleet:
    """The devices and episodes of a spec, made chunk by chunk as they are asked for."""

    spec: FleetSpec

    @property
    def chunks(self) -> int:
        """How many chunks the devices fill, the last perhaps in part."""
        return -(-self.spec.devices // CHUNK)

    def chunk(self, number: int) -> Chunk:
        """Draws the constants of one chunk."""
        count = min(CHUNK, self.spec.devices - number * CHUNK)
        return draw_chunk(self.spec.seed, number, count)

    def devices(self) -> Iterator[Device]:
        """Yields the registry in the order of the devices."""
        for number in range(self.chunks):
            yield from self.chunk(number).devices

    def episodes(self, number: int, week: int) -> list[Episode]:
        """Draws the episodes of one chunk in one week, in the order of the devices.

        Weeks are independent, so a longer run starts with the episodes of a shorter one. A
        golden-ratio sequence deals faults to devices more evenly than chance: any few hundred
        neighbours hold every fault several times.
        """
        spec = self.spec
        shift = float(stream(spec.seed, Purpose.EPISODE, 0xFFFFFFFF, week).random())
        draws = stream(spec.seed, Purpose.EPISODE, number, week).random((4, CHUNK))
        names = tuple(FAULTS)
        episodes = []
        for column in range(min(CHUNK, spec.devices - number * CHUNK)):
            index = number * CHUNK + column
            place = (index * _GOLDEN + shift) % 1.0
            if place < spec.fault_share:
                fault = names[int(place / spec.fault_share * len(names))]
                episode = _episode(index, week, fault, *(float(u) for u in draws[:, column]))
                end = min(episode.end_minute, spec.days * 1440)
                if episode.start_minute < end:
                    episodes.append(replace(episode, end_minute=end))
        return episodes


def _episode(
    index: int, week: int, fault: str, onset: float, length: float, severity: float, variant: float
) -> Episode:
    kind = FAULTS[fault]
    minutes = round(
        60 * (kind.shortest_hours + length * (kind.longest_hours - kind.shortest_hours))
    )
    # Late onsets are cut off by the week, but never to less than half.
    start = round(60 + onset * (WEEK_MINUTES - 60 - minutes // 2))
    first = week * WEEK_MINUTES
    return Episode(
        index=index,
        start_minute=first + start,
        end_minute=first + min(start + minutes, WEEK_MINUTES),
        fault=fault,
        severity=0.7 + 0.6 * severity,
        variant=variant,
    )
