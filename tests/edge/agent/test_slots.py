"""Slots are found again, cleaned and swept, and never believed unread."""

import os
import shutil
from pathlib import Path

import pytest

from edge.agent.lock import exclusive
from edge.agent.slots import hashed, measured, slots_of
from edge.agent.state import FILES, load
from edge.disk import RealDisk
from firnline.errors import DeliveryError
from tests.edge.agent.units import Unit, unit


@pytest.fixture
def device():
    with unit() as made:
        yield made


def lost(device: Unit) -> None:
    for name in FILES:
        (device.config.state / name).unlink(missing_ok=True)


def codes(standing) -> list[str]:
    return [error.code for error in standing.problems]


def test_a_lost_state_is_made_anew_from_whole_slots(device: Unit) -> None:
    device.settle()
    second = device.settle(classifier=2)
    lost(device)
    standing = device.start()
    assert codes(standing) == ["U21"]
    assert standing.release == second.release
    assert standing.on_trial
    assert len(device.state.slots) == 2
    assert device.pull().step == "kept"


def test_a_damaged_state_does_not_bring_back_a_slot_that_is_not_whole(device: Unit) -> None:
    first = device.settle()
    device.settle(classifier=2)
    for name in FILES:
        (device.config.state / name).write_bytes(b"{}")
    (device.config.state / "slots" / "b" / "LICENSE").unlink()
    standing = device.start()
    assert codes(standing) == ["U21"]
    assert standing.release == first.release
    assert set(device.state.slots) == {"a"}
    assert not (device.config.state / "slots" / "b").exists()


def test_a_forged_slot_is_replaced_by_the_signed_one(device: Unit) -> None:
    true = device.settle()
    forged = device.made(classifier=9, release=true.release)
    slot = device.config.state / "slots" / "a"
    shutil.rmtree(slot)
    shutil.copytree(forged.folder, slot)
    lost(device)
    assert device.start().manifest == forged.sha256
    assert device.pull().step == "installed"
    assert device.start().manifest == true.sha256


def test_a_state_holds_its_slots_to_the_signed_manifest(device: Unit) -> None:
    first = device.settle()
    second = device.settle(classifier=2)
    slot = device.config.state / "slots" / "b"
    shutil.rmtree(slot)
    shutil.copytree(device.made(classifier=9, release=second.release).folder, slot)
    standing = device.start()
    assert codes(standing) == ["D8"]
    assert standing.release == first.release


@pytest.mark.parametrize("broken", ["link", "special", "missing", "extra"])
def test_a_slot_with_what_does_not_belong_is_given_up(device: Unit, broken: str) -> None:
    first = device.settle()
    device.settle(classifier=2)
    slot = device.config.state / "slots" / "b"
    match broken:
        case "link":
            (slot / "proof.json").unlink()
            (slot / "proof.json").symlink_to("/etc/hostname")
        case "special":
            (slot / "proof.json").unlink()
            os.mkfifo(slot / "proof.json")
        case "missing":
            (slot / "bundle.json").unlink()
        case "extra":
            (slot / "more.onnx").write_bytes(b"")
    standing = device.start()
    assert standing.release == first.release
    assert codes(standing) == [
        {"link": "D5", "special": "D5", "missing": "D1", "extra": "D4"}[broken]
    ]


def test_no_slot_is_whole(device: Unit) -> None:
    device.settle()
    shutil.rmtree(device.config.state / "slots" / "a")
    standing = device.start()
    assert (standing.slot, codes(standing)) == (None, ["D1", "U27"])
    device.pull()
    assert device.start().problems == ()


def test_a_new_device_has_no_problem(device: Unit) -> None:
    standing = device.start()
    assert (standing.slot, standing.problems) == (None, ())


def test_what_a_killed_run_left_is_cleaned_up(device: Unit) -> None:
    device.settle()
    folder = device.config.state
    (folder / "slots" / "next" / "stages").mkdir(parents=True)
    (folder / "slots" / "b").mkdir()
    (folder / ".state.json.77.partial").write_bytes(b"{")
    device.start()
    assert {path.name for path in (folder / "slots").iterdir()} == {"a"}
    assert not list(folder.glob(".*.partial"))


def test_an_update_under_way_keeps_what_it_assembled(device: Unit) -> None:
    device.settle()
    assembled = device.config.state / "slots" / "next"
    assembled.mkdir()
    with exclusive(device.config.state):
        device.start()
    assert assembled.exists()


def test_parts_of_neither_slot_go_with_the_switch(device: Unit) -> None:
    first = device.settle()
    second = device.settle(encoder=2, classifier=2)
    third = device.release(encoder=3, classifier=3)
    device.pull()
    lie = {path.name for path in (device.config.state / "parts").glob("*/*")}
    gone, kept = (
        {path.rpartition("/")[2] for made in releases for path in made.parts}
        for releases in ((first,), (second, third))
    )
    assert gone - kept
    assert not (gone - kept) & lie
    assert kept <= lie
    device.confirm()
    assert device.start().problems == ()


def test_parts_are_kept_while_a_slot_cannot_be_read(device: Unit) -> None:
    device.settle()
    slots = slots_of(device.config, RealDisk())
    state = device.state
    (slots.path("a") / "bundle.json").unlink()
    assert slots.sweep(state) == 0
    assert list((device.config.state / "parts").glob("*/*"))


def test_the_lock_names_its_holder_and_goes_with_it(tmp_path: Path) -> None:
    with exclusive(tmp_path), pytest.raises(DeliveryError, match=f"process {os.getpid()}"):  # noqa: SIM117
        with exclusive(tmp_path):
            raise AssertionError("two held it")
    with exclusive(tmp_path):
        pass


def test_a_state_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DeliveryError, match="U21"), exclusive(tmp_path / "file" / "state"):
        raise AssertionError("it was made")


def test_reading_the_state_alone_changes_nothing(device: Unit) -> None:
    device.settle()
    (device.config.state / FILES[0]).write_bytes(b"worn")
    _, damage = load(device.config.state)
    assert damage.code == "U21"
    assert (device.config.state / FILES[0]).read_bytes() == b"worn"


def test_measuring_finds_what_is_not_there_and_hashing_what_was_altered(device: Unit) -> None:
    made = device.settle()
    slot = device.config.state / "slots" / "a"
    licence = (slot / "LICENSE").read_bytes()
    measured(slot, made.sha256)
    (slot / "LICENSE").write_bytes(licence[:-1] + b"?")
    measured(slot, made.sha256)
    for looks, content in ((hashed, licence[:-1] + b"?"), (measured, licence + b"?")):
        (slot / "LICENSE").write_bytes(content)
        with pytest.raises(DeliveryError, match="LICENSE") as caught:
            looks(slot, made.sha256)
        assert (caught.value.code, "pull" in caught.value.mend) == ("D2", True)
    (slot / "LICENSE").write_bytes(licence)
    with pytest.raises(DeliveryError, match="D8"):
        measured(slot, "0" * 64)
