"""A mirror that a thief of online keys altered: what no device would take harms no restoring."""

import json
import shutil
from datetime import UTC, datetime

import pytest
from tuf.api.metadata import Metadata, MetaFile, SuccinctRoles, TargetFile

from edge.channel import keys
from edge.channel.release import pins
from edge.channel.repository import Repository
from edge.channel.restore import from_mirror
from edge.channel.rollback import rollback
from edge.channel.rotate import rotate
from edge.channel.state import read
from edge.channel.status import status
from edge.channel.sweep import sweep
from firnline.contracts.places import manifest_path
from firnline.digest import bytes_digest
from firnline.errors import DeliveryError
from tests.edge.channel import stands
from tests.edge.channel.stands import ENSEMBLE, TARGET

RELEASE = f"cpu/{ENSEMBLE}/{TARGET}/{'ab' * 8}.json"
NO_MANIFESTS = [b"[]", b"{}", b'{"files":[]}', b'{"files":{"a":"../x"}}', b"[" * 100_000, b"\xff"]


@pytest.fixture
def stolen(small, releases, tmp_path):
    """A copy of a channel with one release, and the root that its devices were given."""
    releases.put(small, 1)
    shutil.copytree(small.public, tmp_path / "far" / "off" / "mirror")
    return Thief(tmp_path / "far" / "off" / "mirror")


class Thief:
    """Who holds every online key and the keys of a kind and a track, and may write the files."""

    def __init__(self, mirror):
        self.mirror = mirror
        self.metadata = mirror / "metadata"

    def names(self, files):
        """Have the snapshot name files: `cpu.json` -> version."""
        self._sign("snapshot", lambda signed: signed.meta.update(_meta(files)))
        path = self._newest("snapshot")
        content = path.read_bytes()
        stamp = Metadata.from_bytes((self.metadata / "timestamp.json").read_bytes())
        stamp.signed.version += 1
        stamp.signed.snapshot_meta = MetaFile(
            int(path.name.partition(".")[0]), len(content), {"sha256": bytes_digest(content)}
        )
        stamp.sign(key_of("timestamp"))
        stamp.to_file(str(self.metadata / "timestamp.json"))

    def states(self, role, path, content):
        """Have a role state a target, whose file lies where its path leads."""
        digest = bytes_digest(content)
        target = TargetFile(len(content), {"sha256": digest}, path)
        self.changes(role, lambda signed: signed.targets.update({path: target}))
        folder, _, name = path.rpartition("/")
        file = self.mirror / "targets" / folder / f"{digest}.{name}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)

    def changes(self, role, change):
        """Have a role say something else, and the snapshot name the new version of it."""
        self._sign(role, change)
        version = int(self._newest(role).name.partition(".")[0])
        pinned = self._newest(role).read_bytes()
        hashes = {} if "-" in role else {"sha256": bytes_digest(pinned)}
        self.names({f"{role}.json": MetaFile(version, None, hashes or None)})

    def restored(self, tmp_path):
        """The channel that comes of it, elsewhere."""
        root = (self.metadata / "1.root.json").read_bytes()
        every = [uri for role in stands.ROLES for uri in stands.uris(role)]
        from_mirror(tmp_path / "new", self.mirror, root, every)
        return Repository(tmp_path / "new")

    def _newest(self, role):
        files = self.metadata.glob(f"*.{role}.json")
        return max(files, key=lambda path: int(path.name.partition(".")[0]))

    def _sign(self, role, change):
        found = Metadata.from_bytes(self._newest(role).read_bytes())
        found.signed.version += 1
        change(found.signed)
        found.sign(key_of(role.partition("-")[0]))
        found.to_file(str(self.metadata / f"{found.signed.version}.{role}.json"))


def _meta(files):
    return {name: MetaFile(at) if isinstance(at, int) else at for name, at in files.items()}


def key_of(role):
    """A role's key, stolen."""
    return keys.open_key(stands.uris(role)[0])


def _bin(repo, path):
    return repo.state().bin_of(path)


def _files(folder):
    return {path for path in folder.rglob("*") if path.is_file()}


def test_a_name_in_the_snapshot_that_leaves_the_folder_is_not_copied(stolen, tmp_path) -> None:
    """`metadata/1./../../../../victim` would be written beside the new channel."""
    deep = stolen.mirror / "parts" / "x" / "y" / "z"
    deep.mkdir(parents=True)
    (stolen.metadata / "1.").symlink_to(deep)
    (stolen.mirror / "victim").write_text("a thief's")
    stolen.names({"/../../../../victim": 1})
    outside = _files(tmp_path)
    new = stolen.restored(tmp_path)
    added = _files(tmp_path) - outside
    assert added and all(path.is_relative_to(new.folder) for path in added)
    assert status(new).releases


@pytest.mark.parametrize("name", ["extra.json", "nothere.json"])
def test_a_role_that_nobody_delegates_to_is_not_copied(stolen, tmp_path, name) -> None:
    secret = tmp_path / "secret"
    secret.write_text("a key of this machine")
    (stolen.metadata / "1.extra.json").symlink_to(secret)
    stolen.names({name: 1})
    new = stolen.restored(tmp_path)
    assert not any("extra" in path.name for path in _files(new.folder))
    assert status(new).releases


@pytest.mark.parametrize(
    "path",
    [
        "cpu/q/../../../../../evil.bin",
        "cpu/small/cpu-x86_64/../../../../evil.json",
        "mcu/small/mcu-cortex-m4/abababababababab.json",
        "cpu/.x/cpu-x86_64/abababababababab.json",
        "beta/evil.json",
        "/evil.json",
    ],
)
def test_a_path_that_its_role_may_not_speak_of_is_not_copied(small, stolen, tmp_path, path) -> None:
    stolen.states(sorted(small.state().bins("cpu"))[0], path, b"a thief's")
    before = _files(tmp_path)
    new = stolen.restored(tmp_path)
    added = _files(tmp_path) - before
    assert all(file.is_relative_to(new.folder) for file in added)
    assert b"a thief's" not in {file.read_bytes() for file in added}
    assert len(status(new).releases) == 1
    sweep(new)


@pytest.mark.parametrize("content", NO_MANIFESTS, ids=range(len(NO_MANIFESTS)))
def test_what_no_device_would_take_as_a_manifest_stops_no_restoring(
    small, stolen, tmp_path, content
) -> None:
    stolen.states(_bin(small, RELEASE), RELEASE, content)
    new = stolen.restored(tmp_path)
    assert {file.release for file in status(new).releases} >= {"ab" * 8}
    swept = sweep(new)
    assert swept.releases == 1
    assert len(status(new).releases) == 1


@pytest.mark.parametrize("digest", ["ab" * 32, "../../../zz", "AB" * 32])
def test_a_manifest_that_is_nowhere_stops_no_restoring(small, stolen, tmp_path, digest) -> None:
    target = TargetFile(3, {"sha256": digest}, RELEASE)
    stolen.changes(_bin(small, RELEASE), lambda signed: signed.targets.update({RELEASE: target}))
    new = stolen.restored(tmp_path)
    assert sweep(new).releases == 1
    assert len(status(new).releases) == 1


@pytest.mark.parametrize("content", NO_MANIFESTS, ids=range(len(NO_MANIFESTS)))
def test_what_is_no_manifest_any_more_is_not_assigned_again(small, stolen, content) -> None:
    (path,) = (path for name in small.state().bins("cpu") for path in small.state().stated(name))
    stolen.states(_bin(small, path), path, content)
    state = read(stolen.mirror)
    release = state.assignment("beta", ENSEMBLE).newest
    with pytest.raises(DeliveryError) as caught:
        pins(state, ENSEMBLE, release)
    assert caught.value.code == "V8"


def test_a_new_key_signs_no_path_that_is_not_its_roles(small, stolen) -> None:
    strays = {"beta": "beta/../evil.json", sorted(small.state().bins("cpu"))[0]: "cpu/evil.json"}
    assigned = set(small.state().stated("beta"))
    for role, path in strays.items():
        Thief(small.public).states(role, path, b"a thief's")
    small = Repository(small.folder)
    for role in ("beta", "cpu"):
        rotate(small, role, stands.uris(role, 2))
    state = small.state()
    for role, path in strays.items():
        assert path not in state.role(role).signed.targets
    assert set(state.role("beta").signed.targets) == assigned


def test_a_kind_alone_does_not_choose_what_is_rolled_back_to(small, stolen, releases) -> None:
    old, target = releases[1], manifest_path(ENSEMBLE, TARGET, releases[1].release)
    releases.put(small, 2)
    evil = json.dumps({**json.loads(old.manifest), "files": {}}).encode()
    Thief(small.public).states(_bin(small, target), target, evil)
    with pytest.raises(DeliveryError) as caught:
        rollback(Repository(small.folder), ENSEMBLE, "beta", reason="bad")
    assert caught.value.code == "V13"


@pytest.mark.parametrize(
    "told",
    ["9999-12-31T23:59:59-10:00", "0001-01-01T00:00:00+10:00", "x", "2990-01-01T00:00:00Z"],
)
def test_a_signed_time_that_no_device_believes_stops_nobody(stolen, tmp_path, told) -> None:
    path = stolen.metadata / "timestamp.json"
    stamp = Metadata.from_bytes(path.read_bytes())
    stamp.signed.unrecognized_fields["issued"] = told
    stamp.signed.expires = datetime(2999, 1, 1, tzinfo=UTC)
    stamp.sign(key_of("timestamp"))
    stamp.to_file(str(path))
    assert status(stolen.restored(tmp_path)).releases


def test_an_assignment_out_of_place_is_not_read(stolen, tmp_path) -> None:
    stolen.states("beta", "beta/../../evil.json", b"{}")
    target = TargetFile(2, {"sha512": "00"}, "beta/other.json")
    stolen.changes("beta", lambda signed: signed.targets.update({"beta/other.json": target}))
    new = stolen.restored(tmp_path)
    assert new.state().ensembles("beta") == [ENSEMBLE]


@pytest.mark.parametrize(("prefix", "bits"), [("../../evil", 1), ("npu", 1), ("cpu", 30)])
def test_bins_of_another_name_or_without_end_are_refused(stolen, tmp_path, prefix, bits) -> None:
    def change(signed):
        before = signed.delegations.succinct_roles
        signed.delegations.succinct_roles = SuccinctRoles(before.keyids, 1, bits, prefix)

    stolen.changes("cpu", change)
    with pytest.raises(DeliveryError) as caught:
        stolen.restored(tmp_path)
    assert caught.value.code == "V6"
    assert not (tmp_path / "new" / "public").exists()


def test_metadata_without_a_canonical_form_do_not_verify(stolen, tmp_path) -> None:
    path = stolen.metadata / "timestamp.json"
    document = json.loads(path.read_bytes())
    document["signed"]["issued"] = float("nan")
    path.write_text(json.dumps(document))
    with pytest.raises(DeliveryError) as caught:
        stolen.restored(tmp_path)
    assert caught.value.code == "V6"


def test_a_file_that_begins_with_no_plain_number_is_no_metadata(stolen, tmp_path) -> None:
    for name in ("\N{SUPERSCRIPT TWO}", "007", "1" * 200, "1.other", "2.other"):
        (stolen.metadata / f"{name}.root.json").write_text("no metadata")
    new = stolen.restored(tmp_path)
    assert len(status(new).releases) == 1
