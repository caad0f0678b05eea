"""Firmware manifests go with the assignments: a microcontroller never finds a lower counter."""

import pytest

from edge.channel.promote import promote
from edge.channel.publish import delivered, put
from edge.channel.repository import Repository
from edge.channel.rollback import rollback
from edge.channel.rotate import rotate
from firnline.contracts.firmware import firmware_path, key_id, parse
from tests.edge.agent import bundles
from tests.edge.channel import stands
from tests.edge.channel.stands import ENSEMBLE
from tests.edge.channel.test_firmware import TARGET, device_bundle


@pytest.fixture(scope="module")
def boards(tmp_path_factory):
    """Number -> a microcontroller's release."""
    folder = tmp_path_factory.mktemp("boards")
    made, _ = device_bundle(folder / "0")
    shared = ("target/", "proof.json")
    files = {name: data for name, data in made.files.items() if name.startswith(shared)}
    return [
        bundles.make(folder / str(number), classifier=number, target=TARGET, files=files)
        for number in (1, 2)
    ]


def publish(repo, board, track="beta"):
    with repo.locked() as state:
        given = {TARGET: delivered(board.folder)}
        return put(repo, state, ENSEMBLE, board.release, given, track, 1.0, "a test")


def firmware(repo, board):
    path = firmware_path(ENSEMBLE, TARGET, board.release)
    state = repo.state()
    return parse(state.content(path, state.target(path).hashes["sha256"]), path)


def test_the_counter_rises_with_every_turn_and_stays_when_nothing_changes(repo, boards) -> None:
    old, new = boards
    publish(repo, old)
    assert firmware(repo, old).counter == 1 and firmware(repo, old).release == old.release
    assert not publish(repo, old).changed
    publish(repo, new)
    assert (firmware(repo, old).counter, firmware(repo, new).counter) == (1, 2)
    promote(repo, ENSEMBLE, "stable")
    assert firmware(repo, new).counter == 2
    rollback(repo, ENSEMBLE, "beta", reason="bad")
    assert (firmware(repo, old).counter, firmware(repo, new).counter) == (3, 2)


def test_another_key_signs_every_manifest_that_stands_again(repo, boards) -> None:
    for board in boards:
        publish(repo, board)
    rotate(repo, "mcu", stands.uris("mcu", 2))
    state = Repository(repo.folder).state()
    (key,) = state.delegator("mcu").delegations.roles["mcu"].keyids
    public = bytes.fromhex(state.delegator("mcu").get_key(key).keyval["public"])
    assert [firmware(repo, board).key for board in boards] == [key_id(public)] * 2
    assert [firmware(repo, board).counter for board in boards] == [1, 2]


def test_an_artifact_for_a_processor_has_no_firmware_manifest(repo, releases) -> None:
    releases.put(repo, 1)
    assert not list((repo.public / "targets" / "cpu").rglob("*.bin"))
