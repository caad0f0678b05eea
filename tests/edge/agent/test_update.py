"""An update ends in one whole release that passed every check, or leaves the device as it was."""

import errno
import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from edge.agent.health import rollback
from edge.agent.lock import exclusive
from edge.agent.selftest import self_test
from edge.disk import RealDisk
from firnline.contracts.places import part_path
from firnline.errors import DeliveryError, FirnlineError, HandshakeError
from tests.edge.agent import bundles
from tests.edge.agent.power import Recorder
from tests.edge.agent.units import Unit, unit


@pytest.fixture
def device():
    with unit() as made:
        yield made


def parts_asked(device: Unit) -> list[str]:
    return [path for path, _, _ in device.site.log if path.startswith("parts/")]


def refused(device: Unit, code: str, family: type[FirnlineError] = DeliveryError) -> FirnlineError:
    with pytest.raises(family) as caught:
        device.pull()
    assert caught.value.code == code
    return caught.value


def test_the_first_release_is_installed_on_trial_and_kept_from_then_on(device: Unit) -> None:
    made = device.release()
    outcome = device.pull()
    assert (outcome.step, outcome.offered) == ("installed", made.release)
    assert outcome.received > sum(map(len, made.parts.values()))
    assert device.runs == made.release
    assert device.state.on_trial
    before = (device.config.state / "state.json").read_bytes()
    assert device.pull().step == "kept"
    assert (device.config.state / "state.json").read_bytes() == before


def test_a_poll_that_brings_nothing_new_writes_and_syncs_nothing(device: Unit) -> None:
    device.settle()
    device.pull()
    files = [path for path in device.config.state.rglob("*") if not path.is_dir()]
    before = [path.lstat() for path in files]
    recorder = Recorder(device.config.state)
    assert device.pull(recorder).step == "kept"
    assert recorder.trace == []
    after = [path.lstat() for path in files]
    assert [(found.st_ino, found.st_mtime_ns) for found in after] == [
        (found.st_ino, found.st_mtime_ns) for found in before
    ]


@pytest.mark.parametrize("damage", ["gone", "link", "altered"])
def test_what_runs_is_laid_out_anew_where_its_files_are_damaged(device: Unit, damage: str) -> None:
    before = device.settle()
    made = device.settle(classifier=2)
    slot = device.start().slot
    match damage:
        case "gone":
            shutil.rmtree(slot)
        case "link":
            (slot / "LICENSE").unlink()
            (slot / "LICENSE").hardlink_to(slot / "proof.json")
        case "altered":
            content = (slot / "LICENSE").read_bytes()
            (slot / "LICENSE").write_bytes(content[:-1] + b"?")
    assert device.pull().step == "installed"
    assert (device.runs, device.state.on_trial) == (made.release, False)
    assert device.state.slots[device.state.other].release == before.release
    assert device.pull().step == "kept"


def meanwhile(device: Unit, fetched: bundles.Made, assigned: bundles.Made) -> None:
    """While one release is fetched, another is assigned."""
    path = next(
        path for path in fetched.parts if not (device.config.state / "parts" / path).exists()
    )

    def serve(handler) -> None:
        device.channel.publish(assigned)
        handler.send_response_only(200)
        handler.send_header("Content-Length", str(len(fetched.parts[path])))
        handler.end_headers()
        handler.wfile.write(fetched.parts[path])

    device.site.faults[f"parts/{path}"] = serve


def test_what_took_long_to_fetch_is_asked_for_again(
    device: Unit, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = device.settle(), device.made(classifier=2)
    device.configure(poll_seconds=0)
    meanwhile(device, second, first)
    device.channel.publish(second)
    assert device.pull().step == "kept"
    assert "U47" in caplog.text
    assert (device.runs, device.state.refused) == (first.release, {})
    assert not device.state.other
    device.site.faults.clear()
    device.channel.publish(second)
    assert device.pull().step == "installed"


def test_a_channel_that_changes_while_a_device_fetches_does_not_starve_it(device: Unit) -> None:
    made = [device.settle(), *(device.made(encoder=turn, classifier=turn) for turn in (2, 3, 4))]
    device.configure(poll_seconds=0)
    for fetched, assigned in pairwise(made[1:]):
        meanwhile(device, fetched, assigned)
    device.channel.publish(made[1])
    assert device.pull().step == "installed"
    assert device.runs == made[2].release
    assert device.pull().step == "installed"
    assert device.runs == made[3].release


def test_a_folder_where_a_file_should_lie_is_named_with_what_helps(device: Unit) -> None:
    device.settle()
    timestamp = device.config.state / "trust/timestamp.json"
    timestamp.unlink()
    timestamp.mkdir()
    second = device.release(classifier=2)
    error = refused(device, "U21")
    assert (error.where, "move away" in error.mend) == (str(timestamp), True)
    timestamp.rmdir()
    device.pull()
    assert device.runs == second.release


def test_a_release_that_changes_one_stage_downloads_that_stage_alone(device: Unit) -> None:
    first = device.settle()
    device.site.log.clear()
    second = device.release(classifier=2)
    device.pull()
    changed = [name for name in first.files if first.files[name] != second.files[name]]
    assert {name for name in changed if name.startswith("stages/")} == {
        "stages/classifier.onnx",
        "stages/classifier.int8.onnx",
    }
    assert len(parts_asked(device)) == len(changed) - 1
    assert device.runs == second.release


def test_the_release_before_is_kept_whole_for_the_way_back(device: Unit) -> None:
    first = device.settle()
    second = device.settle(classifier=2)
    assert {slot.release for slot in device.state.slots.values()} == {first.release, second.release}
    rollback(device.config, RealDisk())
    assert device.runs == first.release


def test_a_rollback_of_the_fleet_switches_without_a_download(device: Unit) -> None:
    first = device.settle()
    device.settle(classifier=2)
    device.channel.publish(first)
    device.site.log.clear()
    assert device.pull().step == "switched"
    assert device.runs == first.release
    assert not parts_asked(device)


def test_a_slot_given_up_while_it_is_tested_is_fetched_again(device: Unit) -> None:
    first = device.settle()
    device.settle(classifier=2)
    device.channel.publish(first)
    worn = device.config.state / "slots" / "a" / "LICENSE"

    def test(slot: Path) -> None:
        if worn.exists() and slot == worn.parent:
            worn.unlink()
            device.start()

    assert device.pull(test=test).step == "installed"
    assert device.runs == first.release


def test_no_wave_has_reached_the_device(device: Unit) -> None:
    made = device.made()
    device.channel.publish(made, share=1e-9)
    assert device.pull().step == "unassigned"
    assert device.runs is None
    assert device.state.floor("stable/small").version == 1


@pytest.mark.parametrize("name", ["LICENSE", "stages/encoder.onnx", "stages/encoder.int8.onnx"])
def test_a_worn_part_is_told_and_fetched_again(device: Unit, name: str) -> None:
    made = device.settle()
    place = part_path(made.document["files"][name])
    part = device.config.state / "parts" / place
    part.write_bytes(bytes([part.read_bytes()[0] ^ 1]) + part.read_bytes()[1:])
    assert [error.code for error in device.start().problems] == ["D2", "U27"]
    device.site.log.clear()
    assert device.pull().step == "installed"
    assert parts_asked(device) == [f"parts/{place}"]
    assert device.start().problems == ()


def test_the_slot_that_runs_is_the_same_inode_by_inode_after_a_refusal(device: Unit) -> None:
    first = device.settle()
    slot = device.start().slot
    before = {path: path.stat().st_ino for path in slot.rglob("*")}
    device.release(classifier=2, files={"golden/score.npy": first.files["golden/score.npy"]})
    refused(device, "U22")
    assert {path: path.stat().st_ino for path in slot.rglob("*")} == before
    assert device.runs == first.release
    assert not (device.config.state / "slots" / "next").exists()


def test_a_refused_release_is_not_tried_again_until_it_is_assigned_anew(device: Unit) -> None:
    first = device.settle()
    golden = {"golden/score.npy": first.files["golden/score.npy"]}
    wrong = device.release(classifier=2, files=golden)
    refused(device, "U22")
    device.site.log.clear()
    again = device.pull()
    assert again.step == "refused"
    assert again.refusal.code == "U23"
    assert "U22" in again.refusal.found
    assert not parts_asked(device)
    device.channel.publish(wrong)
    refused(device, "U22")
    right = device.release(classifier=2)
    assert device.pull().step == "installed"
    assert device.runs == right.release
    assert right.release not in device.state.refused


def test_a_stage_of_another_release_is_refused_by_the_handshake(device: Unit) -> None:
    first = device.settle()
    stage = {"stages/encoder.onnx": device.made(encoder=7).files["stages/encoder.onnx"]}
    told = device.made(encoder=2).document["handshake"]
    device.release(files=stage, manifest={"handshake": told}, release="e" * 64)
    refused(device, "H8", HandshakeError)
    assert device.runs == first.release
    assert device.state.refused["e" * 64].code == "H8"


def test_features_unlike_the_devices_own_lock_are_refused(device: Unit, tmp_path: Path) -> None:
    lock = tmp_path / "features.lock"
    lock.write_text(f"# Published\n{bundles.VIEW} {'0' * 64} {{}}\n")
    device.configure(features_lock=lock)
    device.release()
    refused(device, "H1", HandshakeError)
    lock.write_text(f"# Published\n{bundles.VIEW} {bundles.LOCK[bundles.VIEW]} {{}}\n")
    device.release(classifier=2)
    assert device.pull().step == "installed"


def test_an_unreadable_lock_is_named(device: Unit, tmp_path: Path) -> None:
    device.configure(features_lock=tmp_path / "none.lock")
    refused(device, "U30")


def test_a_release_that_is_too_large_is_refused_before_a_byte_of_it_comes(device: Unit) -> None:
    device.configure(limits=replace(device.config.limits, max_release_bytes=2048))
    device.release()
    refused(device, "U13")
    assert not parts_asked(device)


def test_a_channel_that_is_away_costs_nothing_and_is_not_remembered(device: Unit) -> None:
    first = device.settle()
    second = device.release(classifier=2)
    path = next(path for path in second.parts if path not in first.parts)

    def away(handler) -> None:
        handler.send_response_only(503)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    device.site.faults[f"parts/{path}"] = away
    refused(device, "U17")
    assert device.runs == first.release
    device.site.faults.clear()
    assert device.pull().step == "installed"
    assert device.runs == second.release


def test_whatever_ends_the_self_test_is_a_release_that_does_not_run(device: Unit) -> None:
    device.release()

    def ends(slot: Path) -> None:
        raise RuntimeError("no kernel for this operator\nat line 3")

    with pytest.raises(DeliveryError, match="no kernel for this operator") as caught:
        device.pull(test=ends)
    assert "line 3" not in str(caught.value)
    assert device.pull().step == "refused"


def test_a_release_that_kills_the_agent_is_given_up(device: Unit) -> None:
    device.release()

    class Killed(BaseException):
        pass

    def kills(slot: Path) -> None:
        raise Killed

    for _ in range(device.config.health.max_boots):
        with pytest.raises(Killed):
            device.pull(test=kills)
        device.start()
    assert "ended 2 times" in refused(device, "U22").found
    assert device.pull().step == "refused"


def test_what_is_on_trial_gives_way_and_the_good_one_stays(device: Unit) -> None:
    good = device.settle()
    device.release(classifier=2)
    device.pull()
    third = device.release(classifier=3)
    device.pull()
    assert {slot.release for slot in device.state.slots.values()} == {good.release, third.release}
    assert device.runs == third.release


def test_two_agents_at_once(device: Unit) -> None:
    device.release()
    with exclusive(device.config.state):
        refused(device, "U25")
    assert device.pull().step == "installed"


def test_a_rollback_by_hand_meanwhile_keeps_what_was_gone_back_to(device: Unit) -> None:
    first = device.settle()
    device.settle(classifier=2)
    third = device.release(classifier=3)

    def meanwhile(slot: Path) -> None:
        self_test(slot)
        rollback(device.config, RealDisk())

    device.pull(test=meanwhile)
    assert device.runs == third.release
    assert first.release in {slot.release for slot in device.state.slots.values()}


class Full(RealDisk):
    """A disk whose parts have so many bytes beside those that are there."""

    def __init__(self, device: Unit, room: int) -> None:
        self._folder = device.config.state / "parts"
        self._quota = self._used() + room

    def _used(self) -> int:
        return sum(path.stat().st_size for path in self._folder.glob("*/*"))

    def append(self, path: Path, content: bytes, *, sync: bool = True) -> None:
        if self._used() + len(content) > self._quota:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        super().append(path, content, sync=sync)


def test_a_full_disk_keeps_what_runs_and_gets_its_room_back(device: Unit) -> None:
    first = device.settle()
    device.release(encoder=2, classifier=2)
    before = sorted(path.name for path in (device.config.state / "parts").glob("*/*"))
    with pytest.raises(DeliveryError, match="U20"):
        device.pull(Full(device, 600))
    assert device.runs == first.release
    assert sorted(path.name for path in (device.config.state / "parts").glob("*/*")) == before
    assert device.pull().step == "installed"


def test_on_a_small_disk_the_way_back_makes_room_for_the_next_release(device: Unit) -> None:
    device.settle()
    second = device.settle(classifier=2)
    third = device.release(encoder=3, classifier=3)
    lacking = {path: part for path, part in third.parts.items() if path not in second.parts}
    enough = sum(map(len, lacking.values()))
    assert device.pull(Full(device, enough - 500)).step == "installed"
    assert device.runs == third.release
    assert {slot.release for slot in device.state.slots.values()} == {
        second.release,
        third.release,
    }


def test_time_and_versions_never_go_back(device: Unit) -> None:
    device.settle()
    floor = device.state.clock_floor
    assert floor == device.channel.now
    device.settle(classifier=2)
    assert device.state.floor("stable/small").version == 2
    device.channel.publish(device.made(classifier=3), version=1)
    refused(device, "U6")
    assert device.state.floor("stable/small").version == 2


def test_a_thief_of_the_tracks_key_cannot_stop_updates_for_ever(device: Unit) -> None:
    device.settle()
    device.channel.publish(device.made(classifier=2), version=(1 << 53) - 1)
    device.pull()
    device.channel.publish(device.made(classifier=3), version=2)
    refused(device, "U6")
    device.channel.delegate("stable")
    device.channel.commit("targets", "stable")
    assert device.pull().step == "installed"
    assert device.state.floor("stable/small").version == 2


def test_windows_are_scored_as_they_were_where_the_release_was_made(device: Unit) -> None:
    made = device.settle()
    slot = device.start().slot
    files = {
        str(path.relative_to(slot)): path.read_bytes() for path in slot.rglob("*") if path.is_file()
    }
    rows = bundles.rows(32, seed=5)
    for name, value in bundles.chain(made.files, rows).items():
        np.testing.assert_array_equal(bundles.chain(files, rows)[name], value)


def test_a_disk_that_wears_meanwhile_is_not_held_against_the_release(device: Unit) -> None:
    made = device.release()

    class Worn(RealDisk):
        def move(self, old: Path, new: Path) -> None:
            super().move(old, new)
            if new.name == made.document["files"]["stages/encoder.onnx"]:
                new.write_bytes(b"worn")

    for _ in range(device.config.health.max_boots + 1):
        with pytest.raises(DeliveryError, match="D2"):
            device.pull(Worn())
        part = part_path(made.document["files"]["stages/encoder.onnx"])
        (device.config.state / "parts" / part).write_bytes(b"worn again")
    assert device.pull().step == "installed"
