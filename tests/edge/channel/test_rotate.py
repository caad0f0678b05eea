"""Keys change under devices that poll all the while, and a lost one is no disaster."""

import os
import shutil
import threading

import pytest
from securesystemslib.signer import CryptoSigner

from edge.channel import keys
from edge.channel.ceremony import apply, sign
from edge.channel.config import ONLINE, PEOPLE, ROLES
from edge.channel.drafts import draft, waiting
from edge.channel.metadata import authority_of
from edge.channel.repository import Repository
from edge.channel.rotate import rotate, rotate_together
from edge.channel.state import metadata_file
from edge.channel.status import status
from edge.disk import RealDisk
from firnline.errors import DeliveryError
from tests.edge.channel import stands


@pytest.fixture
def small(_few_bins, releases, tmp_path):
    shutil.copytree(_few_bins, tmp_path / "channel")
    repo = Repository(tmp_path / "channel")
    releases.put(repo, 1)
    return repo


@pytest.fixture
def online(small, tmp_path):
    root = (small.public / "metadata" / "1.root.json").read_bytes()
    with stands.serving(small.public) as url:
        yield stands.Device(url, root, tmp_path / "trust")


class Polled(RealDisk):
    """A disk where a device polls after every change: nothing in between may be broken."""

    def __init__(self, poll):
        self._poll = poll

    def write(self, path, content, mode=0o644):
        super().write(path, content, mode)
        if "metadata" in path.parts:
            self._poll()


@pytest.mark.parametrize("role", ROLES)
def test_a_device_that_polls_after_every_write_never_sees_a_broken_moment(
    small, online, releases, role, tmp_path
) -> None:
    online.pull()
    polls = []

    def poll():
        cold = stands.Device(online.url, online.root, tmp_path / f"cold-{len(polls)}")
        polls.append([each.pull().manifest["release"] for each in (online, cold)])

    repo = Repository(small.folder, disk=Polled(poll))
    old = next(found for found in status(small).roles if found.name == role)
    found = rotate(repo, role, stands.uris(role, 2))
    assert not found.staged and set(found.dropped) == {key.keyid for key in old.keys}
    assert len(found.added) == len(old.keys)
    assert len(polls) >= 3 if role not in PEOPLE else polls
    assert {release for pair in polls for release in pair} == {releases[1].release}
    new = next(each for each in status(small).roles if each.name == role)
    assert {key.keyid for key in new.keys} == set(found.added)
    assert not rotate(Repository(small.folder), role, stands.uris(role, 2)).added
    assert releases.put(Repository(small.folder), 2).changed
    assert online.pull().manifest["release"] == releases[2].release


def test_devices_that_poll_at_any_time_see_rotations_whole(small, online, releases) -> None:
    stop, failures = threading.Event(), []

    def polls():
        while not stop.is_set():
            try:
                assert online.pull().manifest["release"] == releases[1].release
            except Exception as error:
                failures.append(error)

    thread = threading.Thread(target=polls)
    thread.start()
    for role in ("timestamp", "cpu", "snapshot", "beta"):
        rotate(Repository(small.folder), role, stands.uris(role, 3))
    stop.set()
    thread.join()
    assert not failures


@pytest.mark.parametrize("role", ONLINE)
def test_a_lost_online_key_is_replaced_without_it(
    small, online, releases, role, monkeypatch
) -> None:
    online.pull()
    monkeypatch.delenv(stands.variable(role, 3))
    with pytest.raises(DeliveryError) as caught:
        releases.put(Repository(small.folder), 2)
    assert caught.value.code == "V2"
    rotate(Repository(small.folder), role, stands.uris(role, 2))
    releases.put(Repository(small.folder), 2)
    assert online.pull().manifest["release"] == releases[2].release


def test_people_sign_one_by_one_and_nothing_counts_before_the_threshold(
    small, online, releases, monkeypatch, tmp_path
) -> None:
    names = [uri.removeprefix("env:") for uri in stands.uris("root")]
    away = {name: os.environ[name] for name in names}
    for name in away:
        monkeypatch.delenv(name)
    found = rotate(Repository(small.folder), "timestamp", stands.uris("timestamp", 2))
    assert [path.name for path in found.staged] == ["2.root.json", "3.root.json"]
    with pytest.raises(DeliveryError) as caught:
        rotate(Repository(small.folder), "snapshot", stands.uris("snapshot", 2))
    assert caught.value.code == "V14"
    for count, name in enumerate(names[:2]):
        with pytest.raises(DeliveryError) as caught:
            apply(Repository(small.folder))
        assert caught.value.code == "V4" and f"{count} of 2 signatures" in caught.value.found
        assert releases.put(Repository(small.folder), 1).changed is False
        monkeypatch.setenv(name, away[name])
        for path in found.staged:
            elsewhere = shutil.copy(path, tmp_path / path.name)
            signed = sign(elsewhere, f"env:{name}")
            assert (signed.role, signed.signatures) == ("root", count + 1)
            shutil.copy(elsewhere, path)
        monkeypatch.delenv(name)
    applied = apply(Repository(small.folder))
    assert applied.roots == [2, 3] and not waiting(small)
    assert online.pull().manifest["release"] == releases[1].release


def test_a_signature_by_a_stranger_does_not_count(small, monkeypatch) -> None:
    for uri in stands.uris("root"):
        monkeypatch.delenv(uri.removeprefix("env:"))
    path = draft(Repository(small.folder), "root")
    for uri in stands.uris("root", 2):
        sign(path, uri)
    assert len(metadata_file(path).signatures) == 3
    with pytest.raises(DeliveryError) as caught:
        apply(Repository(small.folder))
    assert caught.value.code == "V4" and "0 of 2" in caught.value.found
    assert small.state().root.signed.version == 1


def test_a_lost_threshold_is_refused(small, monkeypatch) -> None:
    for uri in stands.uris("targets")[:2]:
        monkeypatch.delenv(uri.removeprefix("env:"))
    found = rotate(Repository(small.folder), "cpu", stands.uris("cpu", 2))
    assert found.staged
    with pytest.raises(DeliveryError) as caught:
        apply(Repository(small.folder))
    assert caught.value.code == "V4" and "1 of 2 signatures" in caught.value.found


@pytest.mark.parametrize(
    ("role", "options", "code"),
    [("nobody", {}, "V8"), ("root", {"threshold": 4}, "V4"), ("cpu", {"threshold": 0}, "V4")],
)
def test_what_no_role_can_have_is_refused(small, role, options, code) -> None:
    with pytest.raises(DeliveryError) as caught:
        rotate(small, role, stands.uris("root", 2), **options)
    assert caught.value.code == code


def test_fewer_keys_never_lower_a_threshold_unasked(small) -> None:
    (one, *_) = stands.uris("root", 2)
    with pytest.raises(DeliveryError, match="a threshold of 2 with 1 keys"):
        rotate(small, "root", [one, one])
    rotate(small, "root", [one], threshold=1)
    assert small.state().root.signed.roles["root"].threshold == 1


def test_keys_that_another_publisher_changed_meanwhile_are_known(small, releases) -> None:
    kept = Repository(small.folder)
    assert kept.config.keys
    rotate(Repository(small.folder), "beta", stands.uris("beta", 2))
    rotate(kept, "cpu", stands.uris("cpu", 2))
    assert releases.put(Repository(small.folder), 2).changed


def test_a_file_that_nobody_can_sign_is_told_as_that(small, tmp_path) -> None:
    (tmp_path / "2.root.json").write_text("{")
    with pytest.raises(DeliveryError) as caught:
        sign(tmp_path / "2.root.json", stands.uris("root")[0])
    assert caught.value.code == "V6" and "ceremony" in caught.value.mend


def test_two_keys_can_be_asked_of_a_kind(small, online, releases) -> None:
    both = [*stands.uris("cpu"), *stands.uris("cpu", 2)]
    rotate(small, "cpu", both, threshold=2)
    releases.put(Repository(small.folder), 2)
    assert online.pull().manifest["release"] == releases[2].release
    role = next(found for found in status(small).roles if found.name == "cpu")
    assert (role.threshold, len(role.keys)) == (2, 2)


def test_only_people_s_roles_have_ceremonies(small) -> None:
    with pytest.raises(DeliveryError) as caught:
        draft(small, "cpu")
    assert caught.value.code == "V8"
    with pytest.raises(DeliveryError) as caught:
        apply(small)
    assert caught.value.code == "V8"


@pytest.mark.parametrize("stolen", [False, True])
def test_snapshot_and_timestamp_are_lost_or_stolen_together(
    small, online, releases, stolen, monkeypatch, tmp_path
) -> None:
    online.pull()
    both = {role: stands.uris(role, 2) for role in ONLINE}
    if not stolen:
        for role in ONLINE:
            monkeypatch.delenv(stands.variable(role, 3))
        metadata = small.public / "metadata"
        for role in ONLINE:
            with pytest.raises(DeliveryError, match="rotate-keys snapshot timestamp") as caught:
                rotate(Repository(small.folder), role, both[role])
            assert caught.value.code == "V2" and not waiting(small)
        assert not (metadata / "2.root.json").exists()
    polls = []

    def poll():
        cold = stands.Device(online.url, online.root, tmp_path / f"cold-{len(polls)}")
        polls.append([each.pull().manifest["release"] for each in (online, cold)])

    found = rotate_together(Repository(small.folder, disk=Polled(poll)), both)
    assert (len(found.added), len(found.dropped), found.staged) == (2, 2, [])
    assert len(polls) >= 4
    assert {release for pair in polls for release in pair} == {releases[1].release}
    root = small.state().root.signed
    assert (root.version, sorted(found.added)) == (
        3,
        sorted(keyid for role in ONLINE for keyid in root.roles[role].keyids),
    )
    assert not set(found.dropped) & set(Repository(small.folder).config.keys)
    releases.put(Repository(small.folder), 2)
    assert online.pull().manifest["release"] == releases[2].release


@pytest.mark.parametrize("roles", [ONLINE, ("targets",), ("root", "targets", "beta", "cpu")])
def test_a_rotation_without_the_old_keys_that_is_killed_goes_on(
    small, releases, roles, monkeypatch, tmp_path
) -> None:
    wanted = {role: stands.uris(role, 2) for role in roles}
    for role in set(roles) - set(PEOPLE):
        monkeypatch.delenv(stands.variable(role, 3))
    if roles == ("targets",):
        for uri in stands.uris("targets"):
            monkeypatch.delenv(uri.removeprefix("env:"))
    root = (small.public / "metadata" / "1.root.json").read_bytes()
    counting = stands.DyingDisk()
    rotate_together(stands.copy(small, tmp_path / "counted", disk=counting), wanted)
    for at in range(1, counting.taken):
        disk = stands.DyingDisk(at)
        with pytest.raises(stands.Killed):
            rotate_together(stands.copy(small, tmp_path / f"{at}", disk=disk), wanted)
        device = stands.Device(
            (tmp_path / f"{at}" / "public").as_uri(), root, tmp_path / f"trust-{at}"
        )
        assert device.pull().manifest["release"] == releases[1].release
        again = Repository(tmp_path / f"{at}", disk=stands.DyingDisk())
        assert not rotate_together(again, wanted).staged and not waiting(again)
        state = again.state()
        for role in roles:
            top = role in (*PEOPLE, *ONLINE)
            above = state.root.signed if top else state.targets.signed
            keyids = set(authority_of(above, role).ids)
            assert keyids == {keys.open_key(uri).public_key.keyid for uri in wanted[role]}
        assert device.pull().manifest["release"] == releases[1].release
        assert releases.put(again, 2).changed
        assert device.pull().manifest["release"] == releases[2].release


def test_root_s_own_keys_change_without_any_online_key(small, online, monkeypatch) -> None:
    for role in ONLINE:
        monkeypatch.delenv(stands.variable(role, 3))
    assert not rotate(Repository(small.folder), "root", stands.uris("root", 2)).staged
    assert small.state().root.signed.version == 2 and online.pull().manifest


def test_people_are_asked_once_for_all_roles(small, online, releases, monkeypatch) -> None:
    names = [uri.removeprefix("env:") for role in PEOPLE for uri in stands.uris(role)]
    away = {name: os.environ[name] for name in names}
    for name in away:
        monkeypatch.delenv(name)
    roles = [role for role in ROLES if role not in PEOPLE]
    wanted = {role: stands.uris(role, 2) for role in roles}
    found = rotate_together(Repository(small.folder), wanted)
    assert [path.name for path in found.staged] == ["2.root.json", "3.root.json", "2.targets.json"]
    for name in away:
        monkeypatch.setenv(name, away[name])
        role = "root" if "ROOT" in name else "targets"
        for path in (path for path in found.staged if role in path.name):
            sign(path, f"env:{name}")
        monkeypatch.delenv(name)
    assert apply(Repository(small.folder)).roots == [2, 3]
    assert online.pull().manifest["release"] == releases[1].release
    for role in roles:
        monkeypatch.delenv(stands.variable(role, 3))
    releases.put(Repository(small.folder), 2)
    assert online.pull().manifest["release"] == releases[2].release


def test_what_was_staged_and_cannot_be_ended_is_named(small, monkeypatch) -> None:
    away = {uri.removeprefix("env:"): uri for uri in stands.uris("root")}
    kept = {name: os.environ[name] for name in away}
    for name in away:
        monkeypatch.delenv(name)
    rotate(Repository(small.folder), "timestamp", stands.uris("timestamp", 2))
    monkeypatch.delenv(stands.variable("snapshot", 3))
    for name, uri in away.items():
        monkeypatch.setenv(name, kept[name])
        for path in waiting(small):
            sign(path, uri)
    with pytest.raises(DeliveryError) as caught:
        apply(Repository(small.folder))
    assert caught.value.code == "V2" and small.state().root.signed.version == 1
    both = {role: stands.uris(role, 2) for role in ONLINE}
    with pytest.raises(DeliveryError, match=r"2\.root\.json.*remove the files") as caught:
        rotate_together(Repository(small.folder), both)
    assert caught.value.code == "V14"
    for path in waiting(small):
        path.unlink()
    assert len(rotate_together(Repository(small.folder), both).added) == 2


def test_chips_are_not_asked_for_more_signatures_than_they_read(small, monkeypatch) -> None:
    for number in range(9):
        pem = CryptoSigner.generate_ed25519().private_bytes.decode()
        monkeypatch.setenv(f"KEY_OF_A_CHIP_{number}", pem)
    nine = [f"env:KEY_OF_A_CHIP_{number}" for number in range(9)]
    with pytest.raises(DeliveryError, match="at most 8") as caught:
        rotate(small, "mcu", nine, threshold=9)
    assert caught.value.code == "V4"
    rotate(small, "mcu", nine, threshold=8)
