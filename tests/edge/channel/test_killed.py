"""A publisher killed anywhere leaves a channel that verifies, with all of a change or nothing."""

import os
import random
import shutil

import pytest

from edge.channel.promote import promote
from edge.channel.repository import Repository
from edge.channel.rollback import rollback
from edge.channel.rotate import rotate
from edge.channel.sweep import sweep
from tests.edge.channel import stands
from tests.edge.channel.stands import ENSEMBLE

_KILLED = 9


@pytest.fixture(scope="module")
def standing(_few_bins, releases, _memory):
    """Beta has had two releases, stable one; a device that polled both."""
    folder = _memory / "killed"
    shutil.copytree(_few_bins, folder / "channel")
    repo = Repository(folder / "channel")
    releases.put(repo, 1)
    promote(repo, ENSEMBLE, "stable")
    releases.put(repo, 2)
    root = (repo.public / "metadata" / "1.root.json").read_bytes()
    device = stands.Device(repo.public.as_uri(), root, folder / "trust")
    device.pull("beta"), device.pull("stable")
    yield folder, repo, device


def actions(releases):
    """Name -> what a publisher does, and how many times it is killed."""
    return {
        "publish": (lambda repo: releases.put(repo, 3), 40),
        "promote": (lambda repo: promote(repo, ENSEMBLE, "stable", 0.5), 15),
        "rollback": (lambda repo: rollback(repo, ENSEMBLE, "beta", reason="bad"), 10),
        "rotate online": (lambda repo: rotate(repo, "timestamp", stands.uris("timestamp", 2)), 15),
        "rotate targets": (lambda repo: rotate(repo, "targets", stands.uris("targets", 2)), 10),
        "rotate kind": (lambda repo: rotate(repo, "cpu", stands.uris("cpu", 2)), 5),
        "sweep": (lambda repo: sweep(repo, keep=1), 5),
    }


def steps(standing, action):
    """Steps on the disk that an action takes when nobody kills it."""
    folder, repo, _ = standing
    disk = stands.DyingDisk()
    action(stands.copy(repo, folder / "counted", disk=disk))
    shutil.rmtree(folder / "counted")
    return disk.taken


def shown(folder, device, name):
    """What a device that polled before the kill finds on each track, every byte verified."""
    trust = folder / f"trust-{name}"
    if not trust.exists():
        shutil.copytree(device.trust, trust, symlinks=True)
    url = device.url.replace("/channel/", f"/{name}/")
    asks = stands.Device(url, device.root, trust)
    return {track: asks.pull(track).manifest["release"] for track in ("beta", "stable")}, asks


@pytest.mark.parametrize(
    "name",
    ["publish", "promote", "rollback", "rotate online", "rotate targets", "rotate kind", "sweep"],
)
def test_a_killed_publisher_leaves_the_old_or_the_new_whole(standing, releases, name) -> None:
    folder, repo, device = standing
    action, count = actions(releases)[name]
    total = steps(standing, action)
    before, _ = shown(folder, device, "channel")
    after = None
    for at in random.Random(name).sample(range(1, total), min(count, total - 1)):  # noqa: S311
        place = f"{name.replace(' ', '-')}-{at}"
        disk = stands.DyingDisk(at, die=lambda: os._exit(_KILLED))
        dying = stands.copy(repo, folder / place, disk=disk)
        assert stands.forked(lambda dying=dying: action(dying) and 0) == _KILLED
        found, asks = shown(folder, device, place)
        again = Repository(folder / place, disk=stands.DyingDisk())
        state = again.state()
        assert all(state.role(role) for role in state.names())
        action(again)
        done, _ = shown(folder, device, place)
        after = after or done
        assert found in (before, after), f"half of a {name} killed at step {at}"
        assert done == after
        assert releases.put(again, 4, "canary").changed
        assert asks.pull("canary").manifest["release"] == releases[4].release
        shutil.rmtree(folder / place)


def test_the_timestamp_is_the_last_thing_that_a_publication_writes(repo, releases) -> None:
    disk = Order()
    releases.put(Repository(repo.folder, disk=disk), 1)
    kinds = [path.relative_to(repo.public).parts[0] for path in disk.written]
    assert kinds == sorted(kinds, key=["parts", "targets", "metadata"].index)
    names = [path.name.partition(".")[2] for path in disk.written if "metadata" in path.parts]
    assert names[-2:] == ["snapshot.json", "json"] and disk.written[-1].name == "timestamp.json"


class Order(stands.RealDisk):
    """A disk that notes what is written, in order."""

    def __init__(self):
        self.written = []

    def write(self, path, content, mode=0o644):
        self.written.append(path)
        super().write(path, content, mode)
