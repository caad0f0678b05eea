"""Power is cut anywhere in an update: there is always one whole release, never a mixed one."""

import json
import multiprocessing
import os
import random
import shutil
import signal
from pathlib import Path

import pytest

from edge.agent.health import standing
from edge.agent.state import FILES, load
from edge.agent.trust import TRUST
from edge.verify import MANIFEST
from tests.edge.agent import bundles, channels, units
from tests.edge.agent.power import After, Operation, Recorder, contents
from tests.edge.agent.test_mcu import Fleet
from tests.edge.agent.units import Unit, unit

KILLS = 10
LATEST = "trust-at-the-end"


@pytest.fixture
def device():
    with unit() as made:
        yield made


def whole(slot: Path | None, releases: dict[str, bundles.Made]) -> str:
    """The release that a slot holds, every byte of it as it was published, and nothing else."""
    assert slot is not None, "no slot is whole"
    release = str(json.loads((slot / MANIFEST).read_bytes())["release"])
    assert files_of(slot) == releases[release].files
    return release


def files_of(slot: Path) -> dict[str, bytes]:
    return {
        str(Path(folder, name).relative_to(slot)): Path(folder, name).read_bytes()
        for folder, _, names in os.walk(slot)
        for name in names
    }


def traced(device: Unit, start: Path) -> list[Operation]:
    """What an update does to the disk; the state before it is copied."""
    shutil.copytree(device.config.state, start, symlinks=True)
    recorder = Recorder(device.config.state)
    assert device.pull(recorder).step == "installed"
    return recorder.trace


def cut_at(
    device: Unit, start: Path, trace: list[Operation], place: int, draw: random.Random
) -> None:
    """The device's state folder as it is found after the power went at an operation."""
    state = device.config.state
    latest = device.home / LATEST
    shutil.rmtree(state)
    after = After(start, state)
    after.play(trace[:place])
    after.cut(trace[place] if place < len(trace) and draw.random() < 0.9 else None, draw)
    after.tear(TRUST, latest, draw)


def trusted(device: Unit) -> None:
    """Where the state knows of the new assignment, the metadata that it came with are all there."""
    track = f"{device.config.track}/{device.config.ensemble}"
    state, _ = load(device.config.state)
    if state is None or state.floor(track).version < device.channel.assignments[track].version:
        return
    there, latest = contents(device.config.state / TRUST), contents(device.home / LATEST)
    assert {name: there.get(name) for name in latest} == latest


def slots_whole(device: Unit, releases: dict[str, bundles.Made]) -> str:
    """The release that runs after a start; the one to go back to is whole as well."""
    runs = whole(device.start().slot, releases)
    for name, slot in device.state.slots.items():
        assert whole(device.config.state / "slots" / name, releases) == slot.release
    return runs


def second(device: Unit) -> list[bundles.Made]:
    """One release runs, and the other slot is empty."""
    return [device.settle()]


def third(device: Unit) -> list[bundles.Made]:
    """One release runs, and the other slot holds the one before, which gives way."""
    return [device.settle(), device.settle(classifier=3)]


def trial(device: Unit) -> list[bundles.Made]:
    """A release runs on trial: it is the one that gives way, and the good one stays."""
    made = [device.settle(), device.release(classifier=3)]
    device.pull()
    return made


@pytest.mark.parametrize(("before", "points"), [(second, 80), (third, 60), (trial, 60)])
def test_power_is_cut_at_random_points_of_an_update(device: Unit, before, points: int) -> None:
    known = before(device)
    new = device.release(encoder=2, classifier=2)
    releases = {made.release: made for made in (*known, new)}
    trace = traced(device, device.home / "start")
    shutil.copytree(device.config.state / TRUST, device.home / LATEST, symlinks=True)
    assert {operation.kind for operation in trace} >= {"append", "write", "move", "link", "remove"}
    seen = set()
    for point in range(points):
        draw = random.Random(point)  # noqa: S311
        cut_at(device, device.home / "start", trace, draw.randrange(len(trace) + 1), draw)
        trusted(device)
        seen.add(slots_whole(device, releases))
        device.pull()
        assert whole(standing(device.config).slot, releases) == new.release
    assert seen == {known[-1].release, new.release} | (
        {known[0].release} if before is trial else set()
    )


def test_power_is_cut_while_the_first_release_comes(device: Unit) -> None:
    device.config.state.mkdir()
    made = device.release()
    trace = traced(device, device.home / "start")
    shutil.copytree(device.config.state / TRUST, device.home / LATEST, symlinks=True)
    for place in range(0, len(trace), 5):
        cut_at(device, device.home / "start", trace, place, random.Random(place))  # noqa: S311
        trusted(device)
        assert device.start().slot in {None, device.config.state / "slots" / "a"}
        device.pull()
        assert whole(device.start().slot, {made.release: made}) == made.release


def test_a_pull_for_a_chip_too_syncs_its_metadata_before_the_state_knows(tmp_path: Path) -> None:
    channel = channels.Channel(tmp_path / "public")
    with channels.serve(channel.public) as site:
        chip = Fleet(tmp_path, site, channel)
        chip.publish()
        recorder = Recorder(tmp_path)
        chip.pull(recorder)
    kinds = [(operation.kind, operation.path.name) for operation in recorder.trace]
    assert kinds.index(("sync", TRUST)) < kinds.index(("write", FILES[0]))


def test_the_agent_is_killed_at_random_times(tmp_path: Path) -> None:
    with unit(tmp_path) as device:
        killed_at_random(device)


def killed_at_random(device: Unit) -> None:
    """A release a turn, and an agent that is killed while it pulls it, on a real disk."""
    known = [device.settle()]
    # One process has the imports done, and every agent is forked from it.
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["tests.edge.agent.units"])
    killed = 0
    for turn in range(KILLS):
        known.append(device.release(encoder=2 + turn, classifier=2 + turn))
        theirs, ours = processes.Pipe()
        agent = processes.Process(target=units.pull, args=(device.config, ours))
        agent.start()
        theirs.recv()
        agent.join(random.Random(turn).uniform(0, 0.1))  # noqa: S311
        agent.kill()
        agent.join()
        killed += agent.exitcode == -signal.SIGKILL
        agent.close()
        theirs.close()
        ours.close()
        slots_whole(device, {made.release: made for made in known})
    assert killed > 0
    device.pull()
    assert slots_whole(device, {made.release: made for made in known}) == known[-1].release
