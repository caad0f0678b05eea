"""A release is believed once it ran well; until then it goes back by itself when it does not."""

import errno
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from edge.agent.config import Health
from edge.agent.health import (
    Standing,
    confirm,
    confirm_by_hand,
    failed,
    healthy,
    rollback,
    standing,
    started,
    stopped,
)
from edge.disk import RealDisk
from firnline.errors import DeliveryError
from tests.edge.agent.devices import until
from tests.edge.agent.units import HEALTH, Unit, unit


@pytest.fixture
def device():
    with unit() as made:
        yield made


def codes(told: Standing) -> list[str]:
    return [error.code for error in told.problems]


@pytest.mark.parametrize(
    ("seconds", "answers", "believed"), [(9, 5, False), (10, 4, False), (10, 5, True)]
)
def test_a_release_is_believed_by_time_and_answers(seconds, answers, believed) -> None:
    assert healthy(Health(confirm_seconds=10, confirm_answers=5), seconds, answers) is believed


def test_a_crash_loop_falls_back_and_is_not_taken_again(device: Unit) -> None:
    good = device.settle()
    bad = device.release(classifier=2)
    device.pull()
    for _ in range(HEALTH.max_boots):
        told = device.start()
        assert (told.release, told.problems) == (bad.release, ())
    told = device.start()
    assert codes(told) == ["U26"]
    assert told.release == good.release
    assert not told.on_trial
    assert device.pull().step == "refused"
    assert device.runs == good.release
    device.channel.publish(bad)
    assert device.pull().step == "installed"


def test_starts_of_a_confirmed_release_are_not_counted(device: Unit) -> None:
    device.settle()
    for _ in range(HEALTH.max_boots + 2):
        assert device.start().problems == ()
    assert device.state.boots == 0


def test_failed_health_falls_back_at_once(device: Unit) -> None:
    good = device.settle()
    device.release(classifier=2)
    device.pull()
    told = failed(device.config, RealDisk(), "the valve did not move")
    assert codes(told) == ["U26"]
    assert "the valve did not move" in told.problems[0].found
    assert told.release == device.runs == good.release
    assert not (device.config.state / "slots" / "b").exists()


def test_what_is_confirmed_is_not_suspected(device: Unit) -> None:
    device.settle()
    second = device.settle(classifier=2)
    told = failed(device.config, RealDisk(), "the valve did not move")
    assert (told.release, told.problems) == (second.release, ())


def test_the_first_release_that_fails_leaves_nothing_and_the_next_one_comes(device: Unit) -> None:
    device.release()
    device.pull()
    told = failed(device.config, RealDisk(), "no answer")
    assert (told.slot, codes(told)) == (None, ["U26", "U27"])
    assert device.pull().step == "refused"
    second = device.release(classifier=2)
    assert device.pull().step == "installed"
    assert device.runs == second.release


def test_falling_back_finds_a_broken_slot_and_says_so(device: Unit) -> None:
    device.settle()
    device.release(classifier=2)
    device.pull()
    (device.config.state / "slots" / "a" / "LICENSE").unlink()
    told = failed(device.config, RealDisk(), "no answer")
    assert (told.slot, codes(told)) == (None, ["D3", "U26", "U27"])


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        ((sys.executable, "-c", "raise SystemExit(3)"), "ended with 3"),
        ((sys.executable, "-c", "import time; time.sleep(60)"), "took longer"),
    ],
)
def test_the_devices_own_command_has_the_last_word(device: Unit, command, complaint) -> None:
    good = device.settle()
    device.release(classifier=2)
    device.pull()
    device.configure(health=replace(HEALTH, command=command, command_seconds=0.3))
    told = device.confirm()
    assert codes(told) == ["U26"]
    assert complaint in told.problems[0].found
    assert device.runs == good.release


def test_a_command_that_cannot_be_started_is_the_devices_fault(device: Unit) -> None:
    device.settle()
    new = device.release(classifier=2)
    device.pull()
    device.configure(health=replace(HEALTH, command=("/nowhere/check",)))
    with pytest.raises(DeliveryError, match=r"U30.*cannot be started"):
        device.confirm()
    assert device.runs == new.release
    device.configure(health=replace(HEALTH, command=("/bin/true",)))
    assert not device.confirm().on_trial


def test_a_command_is_ended_with_what_it_started(device: Unit) -> None:
    device.release()
    device.pull()
    pid = device.home / "pid"
    command = ("sh", "-c", f"sleep 600 & echo $! > {pid}; wait")
    device.configure(health=replace(HEALTH, command=command, command_seconds=1.0))
    assert codes(device.confirm()) == ["U26", "U27"]
    child = int(pid.read_text())
    until(lambda: not psutil.pid_exists(child) or psutil.Process(child).status() == "zombie")


def test_a_command_that_agrees_confirms(device: Unit) -> None:
    device.release()
    device.pull()
    device.configure(health=replace(HEALTH, command=(sys.executable, "-c", "")))
    assert not device.confirm().on_trial
    assert not device.state.on_trial


def test_by_hand_too_the_devices_own_command_has_the_last_word(device: Unit) -> None:
    good = device.settle()
    device.release(classifier=2)
    device.pull()
    device.configure(health=replace(HEALTH, command=("/bin/false",)))
    with pytest.raises(DeliveryError, match="U26"):
        confirm_by_hand(device.config, RealDisk())
    assert device.runs == good.release


def test_what_was_switched_to_while_the_command_ran_is_not_confirmed(device: Unit) -> None:
    first = device.release()
    device.pull()
    begun, go = device.home / "begun", device.home / "go"
    command = f"touch {begun}; until test -e {go}; do sleep 0.02; done"
    device.configure(health=replace(HEALTH, command=("sh", "-c", command)))
    with ThreadPoolExecutor(1) as pool:
        told = pool.submit(confirm_by_hand, device.config, RealDisk(), first.release[:8])
        until(begun.exists)
        second = device.release(classifier=2)
        device.pull()
        go.touch()
        error = told.exception()
    assert isinstance(error, DeliveryError)
    assert (error.code, device.runs) == ("U46", second.release)
    assert device.state.on_trial


def test_rollback_by_hand_is_remembered_and_can_be_taken_back(device: Unit) -> None:
    first = device.settle()
    second = device.settle(classifier=2)
    assert rollback(device.config, RealDisk()).release == first.release
    assert device.pull().step == "refused"
    assert device.runs == first.release
    assert rollback(device.config, RealDisk()).release == second.release
    assert second.release not in device.state.refused
    assert device.pull().step == "kept"


def test_nothing_to_roll_back_to(device: Unit) -> None:
    device.settle()
    with pytest.raises(DeliveryError, match="U24"):
        rollback(device.config, RealDisk())
    device.settle(classifier=2)
    (device.config.state / "slots" / "a" / "LICENSE").unlink()
    with pytest.raises(DeliveryError, match=r"U24.*LICENSE"):
        rollback(device.config, RealDisk())


class ReadOnly(RealDisk):
    """A disk that writes nothing any more."""

    def write(self, path: Path, content, mode: int = 0o644) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    def append(self, path: Path, content: bytes, *, sync: bool = True) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    def folder(self, path: Path) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    def remove(self, path: Path) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(path))


def test_a_device_whose_disk_cannot_be_written_still_starts_and_falls_back(device: Unit) -> None:
    good = device.settle()
    new = device.release(classifier=2)
    device.pull()
    told = started(device.config, ReadOnly())
    assert (told.release, codes(told)) == (new.release, ["U21"])
    told = failed(device.config, ReadOnly(), "no answer")
    assert told.release == good.release
    assert codes(told) == ["U21", "U26"]


def test_standing_tells_what_runs_and_changes_nothing(device: Unit) -> None:
    assert standing(device.config).slot is None
    assert not device.config.state.exists()
    made = device.settle()
    told = standing(device.config)
    assert (told.release, told.manifest, told.on_trial) == (made.release, made.sha256, False)


def test_a_release_that_was_not_watched_is_neither_confirmed_nor_failed(device: Unit) -> None:
    good = device.settle()
    new = device.release(classifier=2)
    device.pull()
    assert confirm(device.config, RealDisk(), good.sha256).on_trial
    assert failed(device.config, RealDisk(), "no answer", good.sha256).release == new.release
    assert not confirm(device.config, RealDisk(), new.sha256).on_trial


def test_a_start_that_came_to_its_end_is_none_of_a_crash_loop(device: Unit) -> None:
    made = device.release()
    device.pull()
    for _ in range(HEALTH.max_boots + 1):
        assert device.start().release == made.release
        stopped(device.config, RealDisk(), made.sha256)
    assert device.state.boots == 0
    assert device.state.on_trial
    device.start()
    stopped(device.config, RealDisk(), "0" * 64)
    assert device.state.boots == 1
