"""Two publishers at once: one waits or is told who holds the channel; the channel verifies."""

import os
import time

import pytest

from edge.channel.lock import exclusive
from edge.channel.repository import Repository
from firnline.errors import DeliveryError
from tests.edge.channel import stands


def publisher(releases, folder, number, track, wait):
    def run():
        releases.put(Repository(folder, wait=wait), number, track)

    return run


def test_publishers_that_wait_all_publish(repo, device, releases) -> None:
    given = {"canary": 1, "beta": 2, "stable": 3}
    [releases[number] for number in given.values()]
    children = [
        stands.start(publisher(releases, repo.folder, number, track, 30))
        for track, number in given.items()
    ]
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert codes == [0, 0, 0]
    for track, number in given.items():
        assert device.pull(track).manifest["release"] == releases[number].release
    assert repo.state().timestamp.signed.version == 4


def test_a_publisher_that_does_not_wait_is_told_who_holds_it(repo, releases) -> None:
    ready, done = os.pipe(), os.pipe()

    def holds():
        with exclusive(repo.folder / "lock"):
            os.write(ready[1], b"x")
            os.read(done[0], 1)

    child = stands.start(holds)
    os.read(ready[0], 1)
    with pytest.raises(DeliveryError) as caught:
        releases.put(repo, 1)
    assert caught.value.code == "V5" and f"process {child} since 20" in caught.value.found
    os.write(done[1], b"x")
    os.waitpid(child, 0)
    for end in (*ready, *done):
        os.close(end)
    assert releases.put(repo, 1).changed


def test_a_killed_holder_does_not_lock_the_channel(repo, releases) -> None:
    def hangs():
        with exclusive(repo.folder / "lock"):
            time.sleep(60)

    child = stands.start(hangs)
    while not (repo.folder / "lock").read_text():
        time.sleep(0.01)
    os.kill(child, 9)
    os.waitpid(child, 0)
    assert releases.put(repo, 1).changed
