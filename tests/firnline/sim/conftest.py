from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pytest

from firnline.sim.fleet import Fleet, FleetSpec
from firnline.sim.hours import Block, hours
from firnline.sim.registry import Chunk
from firnline.sim.sensors import SENSORS


@dataclass(frozen=True)
class Week:
    """All readings of a chunk end to end: each value (n, minutes)."""

    chunk: Chunk
    values: dict[str, np.ndarray]
    missing: np.ndarray

    @property
    def freezers(self) -> np.ndarray:
        return np.array([device.cohort == "walk_in_freezer" for device in self.chunk.devices])


def gather(spec: FleetSpec) -> Week:
    fleet = Fleet(spec)
    blocks: list[Block] = list(hours(fleet, 0))
    return Week(
        chunk=fleet.chunk(0),
        values={name: np.concatenate([b.values[name] for b in blocks], axis=1) for name in SENSORS},
        missing=np.concatenate([b.missing for b in blocks], axis=2),
    )


@pytest.fixture(scope="session")
def healthy() -> Week:
    return gather(FleetSpec(devices=128, days=3, fault_share=0.0, dirt=0.0))


@pytest.fixture(scope="session")
def healthy_summer() -> Week:
    july = datetime(2026, 7, 20, tzinfo=UTC)
    return gather(FleetSpec(devices=128, days=1, start=july, fault_share=0.0, dirt=0.0))
