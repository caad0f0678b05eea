"""Publishing is gated, whole, and the same twice."""

import json
import shutil

import pytest

from edge.channel.init import init
from edge.channel.publish import publish
from edge.channel.repository import Repository
from edge.channel.status import status
from edge.pack import pack
from firnline.digest import tree_digest
from firnline.errors import DeliveryError, EvidenceError, HandshakeError
from tests.edge.channel import stands
from tests.edge.small_bundles import VIEW, contents

CPU = ["cpu-x86_64"]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "bundle"
    pack(folder, contents())
    return folder


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_device_gets_what_was_published(repo, device, bundle) -> None:
    found = publish(repo, bundle, targets=CPU, lock=VIEW, expected=tree_digest(bundle))
    pulled = device.pull()
    assert found.changed and found.release == tree_digest(bundle) == pulled.manifest["release"]
    assert (found.ensemble, found.track, found.share, found.version) == ("small", "beta", 1.0, 1)
    assert found.parts == len(set(pulled.manifest["files"].values()))
    assert found.bytes == sum(
        {pulled.manifest["files"][n]: s for n, s in pulled.manifest["bytes"].items()}.values()
    )
    assert device.pull("stable").assignment is None


def test_publishing_the_same_again_changes_nothing(repo, bundle) -> None:
    publish(repo, bundle, targets=CPU)
    before = files(repo.public)
    again = publish(repo, bundle, targets=CPU)
    assert not again.changed and (again.parts, again.bytes, again.version) == (0, 0, 1)
    assert files(repo.public) == before


def test_no_two_commits_leave_the_timestamp_under_one_second(repo) -> None:
    """A web server's ETag is made of that and of the length, which seldom changes."""
    releases = stands.Releases(repo.folder / "releases")
    seconds = []
    for number in (1, 2, 1, 2):
        releases.put(repo, number)
        seconds.append(int((repo.public / "metadata" / "timestamp.json").stat().st_mtime))
    assert seconds == sorted(set(seconds))


def test_a_target_can_follow_later(repo, device, bundle) -> None:
    publish(repo, bundle, targets=CPU)
    why = {"cpu-arm64": "no such board here"}
    later = publish(repo, bundle, targets=["cpu-arm64"], unproved=why)
    assert later.changed and later.version == 2
    assert device.pull(target="cpu-arm64").manifest["target"] == "cpu-arm64"
    assert device.pull(target="cpu-x86_64").manifest["target"] == "cpu-x86_64"


def test_a_proof_that_does_not_accept_is_refused_or_excused_with_a_reason(repo, bundle) -> None:
    with pytest.raises(EvidenceError, match="cpu-arm64: not run") as caught:
        publish(repo, bundle)
    assert caught.value.code == "V7"
    with pytest.raises(EvidenceError):
        publish(repo, bundle, targets=[*CPU, "cpu-arm64"], unproved={"cpu-arm64": "  "})
    both = publish(repo, bundle, targets=[*CPU, "cpu-arm64"], unproved={"cpu-arm64": "no board"})
    assert both.unproved == {"cpu-arm64": "no board"}
    assigned = repo.state().assignment("beta", "small")
    assert assigned is not None and assigned.reason == "cpu-arm64 unproved: no board"


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"track": "nightly"}, "V8"),
        ({"targets": ["cpu-riscv"]}, "V8"),
        ({"targets": []}, "V8"),
        ({"share": 0.0}, "V10"),
        ({"share": 1.5}, "V10"),
        ({"reason": "x" * 1001}, "V12"),
        ({"reason": "half \ud83d"}, "V12"),
        ({"expected": "0" * 64}, "D8"),
    ],
)
def test_what_cannot_be_published_leaves_the_channel_as_it_was(repo, bundle, options, code) -> None:
    before = files(repo.public)
    with pytest.raises(DeliveryError) as caught:
        publish(repo, bundle, **{"targets": CPU, **options})
    assert caught.value.code == code
    assert files(repo.public) == before


def test_a_bundle_whose_stages_do_not_belong_together_is_refused(repo, bundle) -> None:
    before = files(repo.public)
    with pytest.raises(HandshakeError) as caught:
        publish(repo, bundle, targets=CPU, lock={"v@v1": "0" * 64})
    assert "H1" in str(caught.value)
    assert files(repo.public) == before


def test_a_bundle_with_a_flipped_bit_is_refused(repo, bundle, tmp_path) -> None:
    broken = shutil.copytree(bundle, tmp_path / "bundle")
    graph = broken / "int8.onnx"
    content = bytearray(graph.read_bytes())
    content[100] ^= 1
    graph.write_bytes(content)
    with pytest.raises(DeliveryError) as caught:
        publish(repo, broken, targets=CPU)
    assert caught.value.code == "D2"


def test_a_release_never_changes_once_it_is_published(repo, releases) -> None:
    releases.put(repo, 1)
    other = stands.bundles.make(repo.folder / "other", classifier=2, release=releases[1].release)
    with repo.locked() as state, pytest.raises(DeliveryError) as caught:
        given = {stands.TARGET: stands.delivered(other.folder)}
        stands.put(repo, state, "small", other.release, given, "beta", 1.0, "")
    assert caught.value.code == "V13"


def test_a_second_release_brings_only_the_parts_that_changed(repo, releases) -> None:
    releases.put(repo, 1)
    found = releases.put(repo, 2)
    before, after = (releases[number].document["files"] for number in (1, 2))
    assert found.parts == len(set(after.values()) - set(before.values())) < len(after) / 2


def test_init_again_is_refused_and_a_killed_one_goes_on(_keys, tmp_path) -> None:
    disk = stands.DyingDisk(at=40)
    with pytest.raises(stands.Killed):
        stands.make_channel(tmp_path / "c", disk=disk)
    made = stands.make_channel(tmp_path / "c")
    assert made.root.name == "1.root.json" and made.thresholds["root"] == 2
    assert status(Repository(made.folder)).orphans == 1  # the file that the killed one had begun
    with pytest.raises(DeliveryError) as caught:
        stands.make_channel(tmp_path / "c")
    assert caught.value.code == "V1"


def test_init_makes_keys_that_only_their_passphrase_opens(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("FIRNLINE_CHANNEL_PASSPHRASE", "correct horse")
    made = init(tmp_path / "c", tmp_path / "keys", people=2, bits=1)
    names = {path.name for path in (tmp_path / "keys").iterdir()}
    assert {"root-1.pem", "root-2.pem", "targets-2.pem", "cpu.pem", "timestamp.pem"} <= names
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in (tmp_path / "keys").iterdir())
    told = json.dumps(made.document()) + (made.folder / "channel.json").read_text()
    assert "correct horse" not in told and "PRIVATE" not in told
    monkeypatch.setenv("FIRNLINE_CHANNEL_PASSPHRASE", "wrong horse")
    repo = Repository(made.folder)
    with repo.locked() as state, pytest.raises(DeliveryError) as caught:
        repo.signed(state.root.signed, "snapshot", state.snapshot.signed)
    assert caught.value.code == "V3"


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"threshold": 4}, "V4"),
        ({"threshold": 0}, "V4"),
        ({"bits": 0}, "V12"),
        ({"uris": {"nobody": ["env:X"]}}, "V12"),
        ({"days": {"timestamp": 0}}, "V12"),
        ({"days": {"nobody": 5}}, "V12"),
    ],
)
def test_a_channel_that_could_never_work_is_not_made(_keys, tmp_path, options, code) -> None:
    with pytest.raises(DeliveryError) as caught:
        stands.make_channel(tmp_path / "c", **options)
    assert caught.value.code == code
    assert not (tmp_path / "c" / "public").exists()
