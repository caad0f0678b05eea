"""One simulated fleet, and one project that has walked, for all walks."""

from pathlib import Path
from typing import Any

import pytest

from firnline.sim.fleet import FleetSpec
from firnline.sim.write import simulate
from tests.resources.project import Project, cut_off, released_for

DEVICES, DAYS, SEED = 64, 3, 7
TARGETS = ("cpu-x86_64", "mcu-cortex-m4")


@pytest.fixture(scope="session")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Raw readings of a small fleet."""
    out = tmp_path_factory.mktemp("fleet") / "readings"
    simulate(FleetSpec(devices=DEVICES, days=DAYS, seed=SEED), out)
    return out


@pytest.fixture(scope="session")
def first(tmp_path_factory: pytest.TempPathFactory, fleet: Path) -> tuple[Project, dict[str, Any]]:
    """A project in which the main job has run once, with the network cut, and its document."""
    folder = tmp_path_factory.mktemp("first")
    prefix, environment, calls = cut_off(folder)
    released_for(folder, *TARGETS)
    project = Project(folder, environment, prefix)
    document = project.json("run", "refrigeration", "--data", str(fleet))
    assert calls.read_text() == ""
    return project, document
