"""One simulated fleet for all walks."""

from pathlib import Path

import pytest

from firnline.sim.fleet import FleetSpec
from firnline.sim.write import simulate

DEVICES, DAYS, SEED = 64, 3, 7


@pytest.fixture(scope="session")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Raw readings of a small fleet."""
    out = tmp_path_factory.mktemp("fleet") / "readings"
    simulate(FleetSpec(devices=DEVICES, days=DAYS, seed=SEED), out)
    return out
