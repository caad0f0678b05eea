"""A channel whose people never bring their keys: their public halves come, and signatures."""

import json
import shutil

import pytest
from securesystemslib.signer import CryptoSigner

from edge.channel import keys
from edge.channel.ceremony import apply, sign
from edge.channel.config import PEOPLE, ROLES
from edge.channel.drafts import waiting
from edge.channel.repository import Repository
from edge.channel.rotate import rotate
from edge.channel.status import status
from firnline.errors import DeliveryError
from tests.edge.channel import stands


@pytest.fixture
def halves(_keys, tmp_path):
    """Role and generation -> URIs of the public halves, as their holders sent them."""

    def sent(role, generation=1):
        found = []
        for uri in stands.uris(role, generation):
            path = tmp_path / f"{uri.removeprefix('env:')}.pub"
            path.write_bytes(keys.public_pem(keys.open_key(uri).public_key))
            found.append(f"public:{path}")
        return found

    return sent


def made(folder, halves, **options):
    uris = {role: halves(role) for role in PEOPLE}
    return stands.make_channel(folder, bits=1, uris=uris, **options)


def signed(paths, *, holders=2, generation=1):
    """Each file goes to its holders, on machines without the channel."""
    for path in paths:
        for uri in stands.uris(path.name.split(".")[1], generation)[:holders]:
            sign(path, uri)


def test_a_channel_is_made_of_public_halves_and_signatures(halves, tmp_path, releases) -> None:
    folder = tmp_path / "channel"
    begun = made(folder, halves)
    assert [path.name for path in begun.staged] == ["1.root.json", "1.targets.json"]
    assert begun.root is None and begun.document()["root"] is None
    repo = Repository(folder)
    assert not set(repo.config.keys) & {keyid for role in PEOPLE for keyid in begun.keys[role]}
    signed(begun.staged, holders=1)
    with pytest.raises(DeliveryError, match="1 of 2 signatures") as caught:
        apply(repo)
    assert caught.value.code == "V4" and not repo.stands()
    with pytest.raises(DeliveryError) as caught:
        made(folder, halves)
    assert caught.value.code == "V14"
    signed(begun.staged)
    assert apply(repo).roots == [1] and not waiting(repo)
    releases.put(repo, 1)
    root = (folder / "root.json").read_bytes()
    device = stands.Device(repo.public.as_uri(), root, tmp_path / "trust")
    assert device.pull().manifest["release"] == releases[1].release
    told = {role.name: role for role in status(repo, open_keys=True).roles}
    assert not any(key.usable for role in PEOPLE for key in told[role].keys)
    assert all(key.usable for role in ROLES if role not in PEOPLE for key in told[role].keys)


@pytest.mark.parametrize("role", PEOPLE)
def test_people_change_by_their_public_halves(halves, tmp_path, releases, role) -> None:
    folder = tmp_path / "channel"
    signed(made(folder, halves).staged)
    repo = Repository(folder)
    apply(repo)
    releases.put(repo, 1)
    root = (folder / "root.json").read_bytes()
    device = stands.Device(repo.public.as_uri(), root, tmp_path / "trust")
    device.pull()
    found = rotate(repo, role, halves(role, 2))
    signed(found.staged)
    signed([path for path in found.staged if role in path.name], generation=2)
    apply(repo)
    assert len(found.added) == len(found.dropped) == 3
    assert device.pull().manifest["release"] == releases[1].release
    signed(rotate(repo, "cpu", stands.uris("cpu", 2)).staged, generation=2 - (role == "root"))
    apply(repo)
    releases.put(repo, 2)
    assert device.pull().manifest["release"] == releases[2].release


def test_a_kill_while_the_channel_is_made_leaves_all_signatures(halves, tmp_path) -> None:
    begun = made(tmp_path / "begun", halves)
    signed(begun.staged)
    counting = stands.DyingDisk()
    apply(stands.copy(Repository(tmp_path / "begun"), tmp_path / "counted", disk=counting))
    for at in range(1, counting.taken):
        folder = tmp_path / str(at)
        dying = stands.copy(Repository(tmp_path / "begun"), folder, disk=stands.DyingDisk(at))
        with pytest.raises(stands.Killed):
            apply(dying)
        again = Repository(folder, disk=stands.DyingDisk())
        apply(again)
        assert all(again.state().role(role) for role in again.state().names())
        root = (folder / "root.json").read_bytes()
        assert stands.Device(again.public.as_uri(), root, folder / "trust").pull()
        assert not waiting(again)
        shutil.rmtree(folder)


def test_drafts_that_a_kill_left_half_written_are_written_again(halves, tmp_path) -> None:
    disk, folder = stands.DyingDisk(), tmp_path / "counted"
    made(folder, halves, disk=disk)
    for at in range(1, disk.taken):
        with pytest.raises(stands.Killed):
            made(tmp_path / str(at), halves, disk=stands.DyingDisk(at))
        assert len(made(tmp_path / str(at), halves).staged) == 2


def test_signers_are_told_whom_they_name(halves, tmp_path) -> None:
    begun = made(tmp_path / "channel", halves)
    root, targets = (sign(path, stands.uris(path.name.split(".")[1])[0]) for path in begun.staged)
    named = {**root.names, **targets.names}
    assert named == {role: (begun.thresholds[role], list(begun.keys[role])) for role in ROLES}


def test_what_no_person_signs_is_left_as_it_is(repo) -> None:
    file = repo.public / "metadata" / "timestamp.json"
    before = file.read_bytes()
    with pytest.raises(DeliveryError, match="no person signs") as caught:
        sign(file, stands.uris("root")[0])
    assert caught.value.code == "V6" and file.read_bytes() == before


def test_what_has_no_canonical_form_is_not_signed(halves, tmp_path) -> None:
    file = made(tmp_path / "channel", halves).staged[0]
    document = json.loads(file.read_bytes())
    document["signed"]["x"] = float("nan")
    file.write_text(json.dumps(document))
    before = file.read_bytes()
    for act in (
        lambda: sign(file, stands.uris("root")[0]),
        lambda: apply(Repository(tmp_path / "channel")),
    ):
        with pytest.raises(DeliveryError) as caught:
            act()
        assert caught.value.code == "V6" and file.read_bytes() == before


def test_one_key_by_two_names_is_one_key(halves, tmp_path, repo) -> None:
    (uri, *_) = stands.uris("root", 2)
    twice = [uri, *halves("root", 2)[:1]]
    for ask in (
        lambda: stands.make_channel(tmp_path / "new", uris={"root": twice}),
        lambda: rotate(repo, "root", twice),
    ):
        with pytest.raises(DeliveryError, match="a threshold of 2 with 1 keys") as caught:
            ask()
        assert caught.value.code == "V4"


@pytest.mark.parametrize("make", ["generate_ed25519", "generate_ecdsa"])
def test_a_public_half_is_the_key_s_own(tmp_path, monkeypatch, make) -> None:
    signer = getattr(CryptoSigner, make)()
    (tmp_path / "half.pub").write_bytes(keys.public_pem(signer.public_key))
    assert keys.ensure(f"public:{tmp_path / 'half.pub'}") == signer.public_key
    with pytest.raises(DeliveryError, match="signs nothing") as caught:
        keys.open_key(f"public:{tmp_path / 'half.pub'}")
    assert caught.value.code == "V2"


@pytest.mark.parametrize("content", [None, b"", b"-----BEGIN PUBLIC KEY-----\n", "private"])
def test_what_is_no_public_half_is_refused(halves, tmp_path, content) -> None:
    path = tmp_path / "half.pub"
    if content == "private":
        content = CryptoSigner.generate_ed25519().private_bytes
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DeliveryError) as caught:
        stands.make_channel(
            tmp_path / "channel", uris={"root": [f"public:{path}", *halves("root")[:2]]}
        )
    assert caught.value.code == "V2" and "PRIVATE" not in str(caught.value)


def test_who_signs_unattended_has_the_key_here(halves, tmp_path, repo) -> None:
    (half,) = halves("timestamp")
    for ask in (
        lambda: stands.make_channel(tmp_path / "new", uris={"timestamp": [half]}),
        lambda: rotate(repo, "timestamp", [half]),
    ):
        with pytest.raises(DeliveryError, match="public half alone") as caught:
            ask()
        assert caught.value.code == "V2"
