"""Firmware manifests go with the assignments: a microcontroller never finds a lower counter."""

import shutil
from dataclasses import replace

import pytest
from securesystemslib.signer import CryptoSigner

from edge.channel.firmware import renewed
from edge.channel.promote import promote
from edge.channel.publish import delivered, put
from edge.channel.repository import Repository
from edge.channel.restore import from_keys, from_mirror
from edge.channel.rollback import rollback
from edge.channel.rotate import rotate
from edge.channel.sweep import sweep
from firnline.contracts.firmware import (
    MOST_COUNTER,
    firmware_path,
    key_id,
    parse_all,
    render,
)
from firnline.errors import DeliveryError
from tests.edge.agent import bundles
from tests.edge.channel import stands
from tests.edge.channel.stands import ENSEMBLE
from tests.edge.channel.test_firmware import TARGET, device_bundle
from tests.edge.channel.test_thief import Thief, key_of


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


def content(repo, board):
    path = firmware_path(ENSEMBLE, TARGET, board.release)
    state = repo.state()
    return state.content(path, state.target(path).hashes["sha256"])


def firmware(repo, board):
    return parse_all(content(repo, board), "here")[0]


def counters(repo, *boards):
    return [firmware(repo, board).counter for board in boards]


def test_the_counter_rises_with_every_turn_and_stays_when_nothing_changes(repo, boards) -> None:
    old, new = boards
    publish(repo, old)
    (first,) = counters(repo, old)
    assert first >= 1 and firmware(repo, old).release == old.release
    assert not publish(repo, old).changed
    publish(repo, new)
    before, second = counters(repo, old, new)
    assert before == first < second
    promote(repo, ENSEMBLE, "stable")
    assert counters(repo, old, new) == [first, second]
    rollback(repo, ENSEMBLE, "beta", reason="bad")
    back, same = counters(repo, old, new)
    assert back > same == second


def test_another_key_signs_every_manifest_that_stands_again(repo, boards) -> None:
    for board in boards:
        publish(repo, board)
    before = counters(repo, *boards)
    rotate(repo, "mcu", stands.uris("mcu", 2))
    assert [firmware(repo, board).key for board in boards] == [role_key(repo)] * 2
    assert counters(repo, *boards) == before


def role_key(repo, place=0):
    """Id of one of the role's keys, as firmware manifests name it."""
    targets = Repository(repo.folder).state().delegator("mcu")
    keyid = targets.delegations.roles["mcu"].keyids[place]
    return key_id(bytes.fromhex(targets.get_key(keyid).keyval["public"]))


def test_of_several_keys_the_one_that_bootloaders_check_signs(repo, boards, monkeypatch) -> None:
    publish(repo, boards[0])
    pem = CryptoSigner.generate_ecdsa().private_bytes.decode()
    monkeypatch.setenv("KEY_OF_A_TOKEN", pem)
    rotate(repo, "mcu", ["env:KEY_OF_A_TOKEN", *stands.uris("mcu", 2)])
    assert firmware(repo, boards[0]).key == role_key(repo, 1)
    publish(repo, boards[1])
    assert firmware(repo, boards[1]).key == role_key(repo, 1)


def test_as_many_keys_sign_as_the_role_asks_for(repo, boards, monkeypatch) -> None:
    publish(repo, boards[0])
    before = counters(repo, boards[0])
    monkeypatch.setenv("SECOND_KEY", CryptoSigner.generate_ed25519().private_bytes.decode())
    rotate(repo, "mcu", [*stands.uris("mcu", 2), "env:SECOND_KEY"], threshold=2)
    keys = [role_key(repo, place) for place in (0, 1)]
    assert [each.key for each in parse_all(content(repo, boards[0]), "here")] == keys
    assert counters(repo, boards[0]) == before
    publish(repo, boards[1])
    assert [each.key for each in parse_all(content(repo, boards[1]), "here")] == keys
    rollback(repo, ENSEMBLE, "beta", reason="bad")
    back = parse_all(content(repo, boards[0]), "here")
    assert [each.key for each in back] == keys
    assert back[0].counter > firmware(repo, boards[1]).counter
    # One holder alone publishes nothing for a microcontroller.
    monkeypatch.delenv("SECOND_KEY")
    with pytest.raises(DeliveryError, match=r"V2.*SECOND_KEY"):
        publish(Repository(repo.folder), boards[1])


def test_keys_that_bootloaders_cannot_check_do_not_make_up_the_number(
    repo, boards, monkeypatch
) -> None:
    publish(repo, boards[0])
    monkeypatch.setenv("KEY_OF_A_TOKEN", CryptoSigner.generate_ecdsa().private_bytes.decode())
    with pytest.raises(DeliveryError, match=r"U44.*1 Ed25519 keys, where 2 must sign"):
        rotate(repo, "mcu", ["env:KEY_OF_A_TOKEN", *stands.uris("mcu", 2)], threshold=2)
    assert firmware(repo, boards[0]).key == role_key(repo)


def test_a_sweep_does_not_turn_the_counter_back(repo, boards, releases) -> None:
    old, new = boards
    publish(repo, old, "stable")
    publish(repo, new)
    highest = firmware(repo, new).counter
    releases.put(repo, 3)
    assert sweep(repo, keep=1).releases
    # Devices of beta have seen a higher counter than the one that stands for stable.
    promote(repo, ENSEMBLE, "beta", source="stable")
    assert firmware(repo, old).counter > highest


def test_a_channel_that_starts_over_goes_on_above_what_devices_saw(repo, boards, tmp_path) -> None:
    for board in boards:
        publish(repo, board)
    seen = firmware(repo, boards[1]).counter
    root = (repo.public / "metadata" / "1.root.json").read_bytes()
    uris = {role: stands.uris(role) for role in stands.ROLES}
    above = repo.state().timestamp.signed.version
    new = Repository(from_keys(tmp_path / "new", [root], uris, above=above, bits=1).folder)
    publish(new, boards[0])
    assert firmware(new, boards[0]).counter > seen


def test_from_an_old_mirror_the_counter_goes_on_above_what_devices_saw(
    repo, boards, tmp_path
) -> None:
    publish(repo, boards[0])
    shutil.copytree(repo.public, tmp_path / "mirror")
    publish(repo, boards[1])
    publish(repo, boards[0])
    seen, above = firmware(repo, boards[0]).counter, repo.state().timestamp.signed.version
    root = (repo.public / "metadata" / "1.root.json").read_bytes()
    every = [uri for role in stands.ROLES for uri in stands.uris(role)]
    from_mirror(tmp_path / "new", tmp_path / "mirror", root, every, above=above)
    new = Repository(tmp_path / "new")
    assert firmware(new, boards[0]).counter < seen
    assert publish(new, boards[0]).changed
    assert firmware(new, boards[0]).counter > seen
    assert not publish(new, boards[0]).changed


def test_an_artifact_for_a_processor_has_no_firmware_manifest(repo, releases) -> None:
    releases.put(repo, 1)
    assert not list((repo.public / "targets" / "cpu").rglob("*.bin"))


FOREIGN = f"mcu/{ENSEMBLE}/{TARGET}/{'ab' * 8}.bin"


def stolen(repo, board, path, **changes):
    """Have whoever holds the role's key and the online ones put a manifest of their own there."""
    signer = key_of("mcu")
    said = render(replace(firmware(repo, board), **changes))
    signed = said + bytes.fromhex(signer.sign(said).signature)
    Thief(repo.public).states(repo.state().bin_of(path), path, signed)


def keys_of(repo):
    """Path -> key of every firmware manifest that the channel names."""
    state = repo.state()
    found = [item for role in state.bins("mcu") for item in state.stated(role).items()]
    return {
        path: parse_all(state.content(path, file.hashes["sha256"]), path)[0].key
        for path, file in found
        if path.endswith(".bin")
    }


def test_a_new_key_signs_nothing_of_a_thief(repo, boards) -> None:
    """A bootloader with the new key would take it from whoever delivers it."""
    own = firmware_path(ENSEMBLE, TARGET, boards[1].release)
    for board in boards:
        publish(repo, board)
    stolen(repo, boards[0], FOREIGN, release="ab" * 32, identity="66" * 32)
    stolen(repo, boards[1], own, identity="66" * 32)
    old = role_key(repo)
    rotate(repo, "mcu", stands.uris("mcu", 2))
    mine = firmware_path(ENSEMBLE, TARGET, boards[0].release)
    assert keys_of(repo) == {mine: role_key(repo), FOREIGN: old, own: old}
    # Nor is one that says something else signed again by who rolls back to its release.
    rollback(repo, ENSEMBLE, "beta", reason="bad")
    with pytest.raises(DeliveryError, match="U42"):
        promote(repo, ENSEMBLE, "canary", release=boards[1].release)
    publish(repo, boards[1])
    assert keys_of(repo)[own] == role_key(repo)
    assert firmware(repo, boards[1]).identity == firmware(repo, boards[0]).identity


def test_a_counter_that_no_one_can_pass_falls_with_the_key(repo, boards) -> None:
    publish(repo, boards[0])
    own = firmware_path(ENSEMBLE, TARGET, boards[0].release)
    stolen(repo, boards[0], FOREIGN, release="ab" * 32, counter=MOST_COUNTER)
    stolen(repo, boards[0], own, counter=MOST_COUNTER)
    rotate(repo, "mcu", stands.uris("mcu", 2))
    assert set(keys_of(repo)) == {own}
    before = firmware(repo, boards[0]).counter
    publish(repo, boards[1])
    assert before < firmware(repo, boards[1]).counter < MOST_COUNTER


@pytest.mark.parametrize("content", [b"junk", None])
def test_what_no_bootloader_takes_stands_in_nobodys_way(repo, boards, content) -> None:
    for board in boards:
        publish(repo, board)
    seen = firmware(repo, boards[1]).counter
    thief = Thief(repo.public)
    thief.states(repo.state().bin_of(FOREIGN), FOREIGN, content or b"gone")
    if content is None:
        for file in (repo.public / "targets").rglob(f"*.{FOREIGN.rpartition('/')[2]}"):
            file.unlink()
    repo = Repository(repo.folder)
    rollback(repo, ENSEMBLE, "beta", reason="bad")
    assert firmware(repo, boards[0]).counter > seen
    sweep(repo)
    rotate(repo, "mcu", stands.uris("mcu", 2))
    assert firmware(repo, boards[0]).key == role_key(repo)


def test_a_manifest_that_stands_under_an_old_key_is_signed_again(repo, boards) -> None:
    publish(repo, boards[0])
    path = firmware_path(ENSEMBLE, TARGET, boards[0].release)
    other = CryptoSigner.generate_ed25519()
    forged = renewed(content(repo, boards[0]), [other], firmware(repo, boards[0]).counter)
    Thief(repo.public).states(repo.state().bin_of(path), path, forged)
    promote(Repository(repo.folder), ENSEMBLE, "stable")
    assert firmware(repo, boards[0]).key == role_key(repo)


def test_what_a_thief_assigned_is_let_go_before_the_key_is_another(repo, boards) -> None:
    """As the runbook of a stolen machine says: whoever had every key assigned it in due form."""
    publish(repo, boards[0])
    publish(repo, boards[1])
    rollback(repo, ENSEMBLE, "beta", reason="published by a thief")
    publish(repo, boards[1], "stable")
    rollback(repo, ENSEMBLE, "stable", release=boards[0].release, reason="by a thief")
    sweep(repo, keep=1)
    rotate(repo, "mcu", stands.uris("mcu", 2))
    mine = firmware_path(ENSEMBLE, TARGET, boards[0].release)
    assert [path for path, key in keys_of(repo).items() if key == role_key(repo)] == [mine]
