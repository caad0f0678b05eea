"""Every attack on a device that runs a release: refused by name, and the device stays as it was.

Names are those of the TUF specification 1.0.34, section 1.5.2, and of python-tuf's own threat
list. Each attack meets a whole agent: a server on loopback, a slot with real graphs, an update with
its self-test. After it the slot has the same files and gives the same scores, and the next good
release is installed.
"""

import gzip
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import MetaFile, Snapshot, Timestamp

from edge.agent.runner import Runner
from edge.disk import RealDisk
from firnline.contracts.places import assignment_path, part_path
from firnline.digest import bytes_digest, tree_manifest
from firnline.errors import DeliveryError
from tests.edge.agent import bundles
from tests.edge.agent.channels import Fault
from tests.edge.agent.units import Unit, unit

TIMESTAMP = "metadata/timestamp.json"
ASSIGNMENT = assignment_path(bundles.ENSEMBLE, "stable")
EVIL = b"\x7fELF of another make"
LONG = f"target/{'e' * 300}"  # longer than any file system takes between two slashes
DAY = timedelta(days=1)
ONLINE = ("snapshot", "timestamp")


@pytest.fixture
def device() -> Iterator[Unit]:
    with unit() as made:
        made.settle()
        yield made


@dataclass(frozen=True)
class Standing:
    """What must not change: files, where they lie, and what they answer."""

    release: str | None
    files: dict[str, str]
    places: dict[str, int]
    scores: bytes

    @classmethod
    def of(cls, device: Unit) -> "Standing":
        active = device.state.active
        assert active is not None
        slot = device.config.state / "slots" / active
        return cls(
            release=device.runs,
            files=tree_manifest(slot),
            places={path.name: path.stat().st_ino for path in slot.rglob("*")},
            scores=Runner(slot).score(bundles.rows(8)).score.tobytes(),
        )


def withstands(
    device: Unit, code: str, name: str, where: str = "", disk: RealDisk | None = None
) -> DeliveryError:
    """The next update is refused by name, the device is as it was, and nothing is left behind."""
    before, outside = Standing.of(device), set(device.home.iterdir())
    with pytest.raises(DeliveryError) as caught:
        device.pull(disk)
    error = caught.value
    assert (error.code, error.found[: len(name)], where in error.where) == (code, name, True), error
    assert Standing.of(device) == before
    assert not device.state.on_trial
    assert set(device.home.iterdir()) == outside
    assert not (device.config.state / "slots" / "next").exists()
    return error


def recovers(device: Unit) -> None:
    """The attacker is gone: the next good release is installed and starts without a problem."""
    device.site.faults.clear()
    device.channel.signers.clear()
    for signed in device.channel.signed.values():
        signed.expires = datetime.now(UTC).replace(microsecond=0) + 30 * DAY
    good = device.made(encoder=9)
    device.channel.publish(good)
    roles = [role for role in device.channel.signed if role not in {"root", *ONLINE}]
    for _ in range(2):
        # As it is, but signed by its own keys; and the next, since the device may have it already.
        device.channel.write("root")
        device.channel.root().version += 1
    device.channel.commit(*roles)
    assert device.pull().step == "installed"
    assert device.start().problems == ()
    assert device.runs == good.release


def answers(device: Unit, path: str, fault: Fault) -> None:
    """A path of the channel is answered by the attacker."""
    device.site.faults[path] = fault


def endless(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response_only(200)
    handler.end_headers()
    while True:
        handler.wfile.write(bytes(1 << 16))


def dripping(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response_only(200)
    handler.end_headers()
    while True:
        handler.wfile.write(b" ")
        time.sleep(0.02)


def gzipped(handler: BaseHTTPRequestHandler) -> None:
    """Ten megabytes of zeros in ten kilobytes."""
    content = gzip.compress(bytes(10 << 20))
    handler.send_response_only(200)
    handler.send_header("Content-Encoding", "gzip")
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content)


def strangers(device: Unit, *roles: str) -> None:
    """Roles are signed by keys that nobody knows."""
    for role in roles:
        device.channel.signers[role] = [CryptoSigner.generate_ed25519() for _ in range(3)]


def bin_of(device: Unit, role: str) -> str:
    """A role; `bin` stands for that of the release that runs."""
    made = bundles.make(device.home / "bundle-0")
    return device.channel.bin(made.path) if role == "bin" else role


def a_part(device: Unit, **fields) -> str:
    """The path of a part that only the next release needs."""
    made = device.release(encoder=2, **fields)
    return f"parts/{part_path(bytes_digest(made.files['stages/encoder.int8.onnx']))}"


# --- arbitrary software ---------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["part", "manifest", "assignment", "metadata"])
def test_arbitrary_software(device: Unit, what: str) -> None:
    part = a_part(device)
    public, channel = device.channel.public, device.channel
    newest = {
        "part": lambda: public / part,
        "manifest": lambda: max(public.glob("targets/cpu/*/*/*"), key=_age),
        "assignment": lambda: max(public.glob("targets/stable/*"), key=_age),
        "metadata": lambda: public / f"metadata/{channel.signed['stable'].version}.stable.json",
    }
    path = newest[what]()
    path.write_bytes(EVIL.ljust(path.stat().st_size, b"\0"))
    withstands(device, "U1", "arbitrary software")
    recovers(device)


def test_arbitrary_software_by_a_release_whose_golden_answers_are_not_its_own(
    device: Unit,
) -> None:
    other = device.made(classifier=40).files
    device.release(classifier=2, files={"golden/score.npy": other["golden/score.npy"]})
    withstands(device, "U22", "self-test")
    recovers(device)


# --- rollback, freeze, replay, mix-and-match ------------------------------------------------------


def test_rollback_of_the_assignment(device: Unit) -> None:
    device.settle(classifier=2)
    device.channel.publish(device.made(), version=1)
    withstands(device, "U6", "rollback", ASSIGNMENT)
    device.channel.assignments.clear()
    device.channel.publish(device.made(), version=2)
    recovers(device)


def test_rollback_of_metadata(device: Unit) -> None:
    device.settle(classifier=2)
    device.channel.signed["stable"].version -= 2
    device.channel.commit("stable")
    withstands(device, "U6", "rollback", "snapshot")
    device.channel.signed["stable"].version += 2
    recovers(device)


def test_freeze(device: Unit) -> None:
    device.channel.signed["timestamp"].expires = datetime.now(UTC) - DAY
    device.channel.commit()
    withstands(device, "U5", "freeze", "timestamp")
    recovers(device)


def test_replayed_timestamp(device: Unit) -> None:
    old = (device.channel.public / TIMESTAMP).read_bytes()
    device.settle(classifier=2)
    device.channel.lay(TIMESTAMP, old)
    withstands(device, "U7", "replayed timestamp", "timestamp")
    recovers(device)


@pytest.mark.parametrize("role", ["snapshot", "targets", "stable"])
def test_mix_and_match(device: Unit, role: str) -> None:
    channel = device.channel
    old = channel.public / f"metadata/{channel.signed[role].version}.{role}.json"
    channel.commit(*([] if role == "snapshot" else [role]))
    channel.lay(f"metadata/{channel.signed[role].version}.{role}.json", old.read_bytes())
    withstands(device, "U8", "mix-and-match", role)
    recovers(device)


# --- endless and slow -----------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["timestamp", "root", "target", "part"])
def test_endless_data(device: Unit, what: str) -> None:
    answers(device, _path(device, what), endless)
    withstands(device, "U9", "endless data")
    recovers(device)


@pytest.mark.parametrize("what", ["timestamp", "part"])
def test_slow_retrieval(device: Unit, what: str) -> None:
    limits = device.config.limits
    device.configure(limits=replace(limits, timeout_seconds=0.2, slow_bytes_per_second=2000))
    answers(device, _path(device, what), dripping)
    withstands(device, "U10", "slow retrieval")
    device.configure(limits=limits)
    recovers(device)


# --- extraneous dependency ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"files": {"tools/install.sh": EVIL}},
        {"files": {"stages/decoder.onnx": EVIL}},
        {"manifest": {"name": "other"}},
        {"manifest": {"target": "cpu-arm64"}},
        {"manifest": {"release": "e" * 64}},
        {"manifest": {"kind": "whole"}},
    ],
    ids=lambda change: next(iter(next(iter(change.values())))),
)
def test_extraneous_dependency(device: Unit, change: dict[str, dict]) -> None:
    device.release(encoder=2, **change)
    withstands(device, "U12", "extraneous dependency")
    assert EVIL not in _contents(device)
    recovers(device)


def test_extraneous_dependency_on_another_ensemble(device: Unit) -> None:
    device.channel.publish(device.made(encoder=2), ensemble="other")
    withstands(device, "U12", "extraneous dependency", ASSIGNMENT)
    recovers(device)


# --- keys, thresholds, expiry ---------------------------------------------------------------------


@pytest.mark.parametrize("role", ["root", "timestamp", "snapshot", "targets", "stable", "bin"])
def test_wrong_key(device: Unit, role: str) -> None:
    role = bin_of(device, role)
    strangers(device, role)
    _again(device, role)
    withstands(device, "U2", "wrong key", role)
    recovers(device)


@pytest.mark.parametrize("role", ["root", "targets", "timestamp"])
def test_below_threshold(device: Unit, role: str) -> None:
    device.channel.signers[role] = device.channel.keys[role][: 0 if role == "timestamp" else 1]
    _again(device, role)
    withstands(device, "U3", "below threshold", role)
    recovers(device)


@pytest.mark.parametrize("role", ["root", "snapshot", "targets", "stable", "cpu", "bin"])
def test_expired_role(device: Unit, role: str) -> None:
    role = bin_of(device, role)
    device.channel.signed[role].expires = datetime.now(UTC).replace(microsecond=0) - DAY
    _again(device, role)
    if role == "root":
        device.channel.commit()
    withstands(device, "U4", "expired role", role)
    recovers(device)


# --- names, bombs, links --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../../evil", "/evil", "target/../../evil", "a\\..\\evil", LONG])
def test_path_traversal_in_a_file_of_the_bundle(device: Unit, name: str) -> None:
    _renamed(device, name)
    withstands(device, "D5", f"the name {name[:200]!r} leaves the bundle")
    assert EVIL not in _contents(device) and not Path("/evil").exists()
    recovers(device)


@pytest.mark.parametrize("name", ["target/.evil", "target/a b", "-rf"])
def test_a_malformed_name_in_the_bundle(device: Unit, name: str) -> None:
    _renamed(device, name)
    withstands(device, "U11", "path traversal or a malformed name")
    recovers(device)


def test_a_name_that_is_a_file_and_a_folder(device: Unit) -> None:
    _renamed(device, "target/a", "target/a/b/c")
    withstands(device, "U11", "path traversal or a malformed name: 'target/a' is a file")
    recovers(device)


@pytest.mark.parametrize("field", ["release", "target", "sha256", "ensemble"])
def test_path_traversal_in_a_target_name(device: Unit, field: str) -> None:
    made = device.release(encoder=2)
    text = max((device.channel.public / "targets/stable").iterdir(), key=_age).read_text()
    named = {
        "release": made.release,
        "target": made.target,
        "sha256": made.sha256,
        "ensemble": made.ensemble,
    }
    forged = text.replace(f'"{named[field]}"', '"../../evil"')
    device.channel.target("stable", ASSIGNMENT, forged.encode())
    device.channel.commit("stable")
    withstands(device, "U11", "path traversal", "")
    recovers(device)


def test_path_traversal_in_a_role_name(device: Unit) -> None:
    delegations = device.channel.targets("targets").delegations
    assert delegations is not None and delegations.roles is not None
    roles = dict(delegations.roles)
    evil = replace_name(roles.pop("stable"), "../../evil")
    delegations.roles = {"../../evil": evil, **roles}
    snapshot = device.channel.signed["snapshot"]
    snapshot.meta["../../evil.json"] = snapshot.meta["stable.json"]
    device.channel.commit("targets")
    withstands(device, "U17", "the channel cannot be reached", "evil")
    assert not list(device.home.rglob("*evil*"))
    evil.name = "stable"
    delegations.roles = {"stable": evil, **roles}
    recovers(device)


def replace_name(role, name: str):
    """A delegated role under another name."""
    role.name = name
    return role


@pytest.mark.parametrize("what", ["timestamp", "root", "target", "part"])
def test_zip_bomb_in_an_answer(device: Unit, what: str) -> None:
    answers(device, _path(device, what), gzipped)
    withstands(device, "U13", "bomb: an answer compressed")
    recovers(device)


@pytest.mark.parametrize("shape", ["999999999, 999999999", "0, 999999999, 999999999, 999999999"])
def test_bomb_in_the_header_of_an_array(device: Unit, shape: str) -> None:
    golden = device.made().files["golden/features.npy"]
    header = golden[10 : 10 + int.from_bytes(golden[8:10], "little")].decode()
    told = header.replace("(16, 4)", f"({shape})").rstrip() + "\n"
    lies = golden[:8] + len(told).to_bytes(2, "little") + told.encode() + golden[10 + len(header) :]
    device.release(encoder=2, files={"golden/features.npy": lies})
    withstands(device, "U13", "too large or a bomb")
    recovers(device)


def test_bomb_by_a_declared_size(device: Unit) -> None:
    made = device.made(encoder=2)
    sizes = {**made.document["bytes"], "LICENSE": 1 << 40}
    device.release(encoder=2, manifest={"bytes": sizes})
    device.site.log.clear()
    withstands(device, "U13", "bomb: ")
    assert not [path for path, _, _ in device.site.log if path.startswith("parts/")]
    recovers(device)


def test_bomb_by_a_declared_document(device: Unit) -> None:
    made = device.made(encoder=2)
    device.channel.publish(made)
    device.channel.targets("stable").targets[ASSIGNMENT].length = 1 << 40
    device.channel.commit("stable")
    withstands(device, "U13", "bomb: ")
    recovers(device)


class Meddler(RealDisk):
    """A disk on which another process puts a link in place of a file, once it lies there."""

    def __init__(self, name: str, to: Path) -> None:
        self._name, self._to = name, to

    def link(self, old: Path, new: Path) -> None:
        super().link(old, new)
        if new.name == self._name:
            new.unlink()
            new.symlink_to(self._to)


def test_symlink_in_a_bundle_that_is_assembled(device: Unit) -> None:
    made = device.release(encoder=2)
    same = made.folder / "stages/encoder.onnx"
    disk = Meddler("encoder.onnx", same)
    withstands(device, "D5", "not plain files: stages/encoder.onnx", disk=disk)
    recovers(device)


def test_symlink_among_the_parts(device: Unit) -> None:
    """Its content is right today, and the attacker's to change tomorrow."""
    made = device.release(encoder=2)
    content = made.files["stages/encoder.onnx"]
    outside, digest = made.folder / "stages/encoder.onnx", bytes_digest(content)
    for link in (Path(digest), Path(f"{digest}.partial")):
        place = device.config.state / "parts" / digest[:2] / link
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(outside)
    assert device.pull().step == "installed"
    outside.write_bytes(EVIL)
    assert device.start().problems == ()
    assert device.runs == made.release
    device.confirm()
    recovers(device)


def test_symlink_in_the_slot_that_runs(device: Unit) -> None:
    first = device.runs
    made = device.settle(encoder=2)
    active = device.state.active
    assert active is not None
    file = device.config.state / "slots" / active / "stages/encoder.int8.onnx"
    content = file.read_bytes()
    file.unlink()
    (device.home / "evil.onnx").write_bytes(content)
    file.symlink_to(device.home / "evil.onnx")
    standing = device.start()
    assert [error.code for error in standing.problems] == ["D5"]
    assert device.runs == first
    assert device.pull().step == "installed"
    assert device.runs == made.release
    device.confirm()
    recovers(device)


# --- what a thief of keys can do ------------------------------------------------------------------

STOLEN: list[tuple[dict[str, int], str | None]] = [
    ({"timestamp": 1}, "U2"),
    ({"snapshot": 1}, "U2"),
    ({"snapshot": 1, "timestamp": 1}, "U2"),
    ({"stable": 1}, "U2"),
    ({"cpu": 1}, "U2"),
    ({"stable": 1, "cpu": 1}, "U2"),
    ({"stable": 1, "snapshot": 1, "timestamp": 1}, "U2"),
    ({"cpu": 1, "snapshot": 1, "timestamp": 1}, "U2"),
    ({"targets": 1, "snapshot": 1, "timestamp": 1}, "U3"),
    ({"root": 1}, "U3"),
    ({"stable": 1, "cpu": 1, "snapshot": 1, "timestamp": 1}, None),
    ({"targets": 2, "snapshot": 1, "timestamp": 1}, None),
    ({"root": 2}, None),
]
"""Stolen keys of roles -> what refuses a release of the thief's own making; None: nothing does."""


@pytest.mark.parametrize(
    ("keys", "code"),
    STOLEN,
    ids=["+".join(f"{n} {r}" for r, n in keys.items()) for keys, _ in STOLEN],
)
def test_a_thief_with_a_release_of_his_own(
    device: Unit, keys: dict[str, int], code: str | None
) -> None:
    """The thief has the web server too, and signs with the keys he has and with others."""
    made = device.made(encoder=50)
    _forged(device, keys, made)
    if code is None:
        assert device.pull().step == "installed"
        assert device.runs == made.release
    else:
        withstands(device, code, {"U2": "wrong key", "U3": "below threshold"}[code])
        if "root" not in keys:
            recovers(device)


@pytest.mark.parametrize(
    ("keys", "pins", "code"),
    [({"stable", "cpu"}, True, "U8"), ({"stable", "cpu"}, False, None), ({"stable"}, False, "U2")],
    ids=["as published", "if it named versions alone", "the track alone"],
)
def test_a_thief_who_serves_other_metadata_under_the_same_number(
    device: Unit, keys: set[str], pins: bool, code: str | None
) -> None:
    """Without an online key: why the snapshot names tracks and kinds by their digest."""
    channel, honest, evil = device.channel, device.made(encoder=2), device.made(encoder=50)
    channel.publish(honest)
    _unpinned(device, "cpu-" if pins else "")
    online = {path: path.read_bytes() for path in (channel.public / "metadata").glob("*[tp].json")}
    numbers = {role: channel.signed[role].version for role in ("stable", channel.bin(evil.path))}
    _forged(device, dict.fromkeys(keys, 1), evil)
    for role, number in numbers.items():
        channel.signed[role].version = number
        channel.write(role)
    for path, content in online.items():
        path.write_bytes(content)
    if code is None:
        assert device.pull().step == "installed"
        assert device.runs == evil.release
    else:
        withstands(device, code, {"U8": "mix-and-match", "U2": "wrong key"}[code])


def test_a_kind_stolen_replaces_a_bin_under_its_number_in_vain(device: Unit) -> None:
    channel, honest, evil = device.channel, device.made(encoder=2), device.made(encoder=50)
    channel.publish(honest)
    _unpinned(device, "cpu-")
    channel.target(channel.bin(honest.path), honest.path, evil.manifest)
    channel.write(channel.bin(honest.path))
    withstands(device, "U15", "arbitrary software", "cpu/")
    recovers(device)


def test_a_track_stolen_names_what_no_kind_signs(device: Unit) -> None:
    made = device.made(encoder=50)
    channel = device.channel
    channel.publish(made)
    del channel.targets(channel.bin(made.path)).targets[made.path]
    channel.commit(channel.bin(made.path))
    withstands(device, "U15", "arbitrary software", "cpu/")
    recovers(device)


def test_timestamp_stolen_freezes_until_the_snapshot_expires(device: Unit) -> None:
    channel, later = device.channel, datetime.now(UTC).replace(microsecond=0) + 31 * DAY
    channel.signed["timestamp"].expires = later + 300 * DAY
    device.channel.commit()
    frozen = (channel.public / TIMESTAMP).read_bytes()
    assert device.pull().step == "kept"
    device.release(encoder=2)
    channel.lay(TIMESTAMP, frozen)
    assert device.pull().step == "kept"
    with pytest.raises(DeliveryError) as caught:
        device.pull(system=lambda: later)
    assert (caught.value.code, "snapshot" in caught.value.found) == ("U4", True)


def test_timestamp_stolen_moves_the_clock_no_further_than_the_root(device: Unit) -> None:
    channel = device.channel
    now, channel.now = channel.now, channel.root().expires + DAY
    channel.signed["timestamp"].expires = channel.now + DAY
    channel.commit()
    withstands(device, "U18", "a clock that cannot be right")
    assert device.state.clock_floor == now
    channel.now = now
    recovers(device)


def test_online_keys_stolen_take_nothing_back_that_was_seen(device: Unit) -> None:
    device.settle(classifier=2)
    snapshot = device.channel.signed["snapshot"]
    snapshot.meta["stable.json"].version -= 1
    device.channel.commit()
    withstands(device, "U6", "rollback", "snapshot")


def test_online_keys_stolen_can_hide_a_release_that_was_not_seen(device: Unit) -> None:
    snapshot = device.channel.signed["snapshot"]
    seen = dict(snapshot.meta)
    device.release(encoder=2)
    snapshot.meta = seen
    device.channel.commit()
    assert device.pull().step == "kept"


def test_director_stolen_with_online_keys_assigns_what_the_kind_once_signed(device: Unit) -> None:
    old = device.state.running
    device.settle(classifier=2)
    device.channel.publish(bundles.make(device.home / "bundle-0"))
    assert device.pull().step == "switched"
    assert old is not None and device.runs == old.release


def test_director_stolen_with_online_keys_stops_a_track_until_its_key_is_another(
    device: Unit,
) -> None:
    highest = (1 << 53) - 1
    device.channel.publish(device.made(), version=highest)
    device.pull()
    device.channel.assignments.clear()
    device.release(encoder=2)
    withstands(device, "U6", "rollback", ASSIGNMENT)
    device.channel.delegate("stable")
    recovers(device)


def test_kind_stolen_with_online_keys_withholds_and_puts_nothing_on(device: Unit) -> None:
    channel, made = device.channel, device.made(encoder=2)
    assert channel.release(made)
    channel.commit(channel.bin(made.path))
    assert device.pull().step == "kept"
    first = bundles.make(device.home / "bundle-0")
    channel.target(channel.bin(first.path), first.path, made.manifest)
    channel.commit(channel.bin(first.path))
    withstands(device, "U15", "arbitrary software", "cpu/")
    recovers(device)


def test_a_thief_does_not_get_past_the_features_lock_of_a_device(
    device: Unit, tmp_path: Path
) -> None:
    lock = tmp_path / "features.lock"
    lock.write_text(f"{bundles.VIEW} {'0' * 64}\n")
    device.configure(features_lock=lock)
    before = Standing.of(device)
    device.release(encoder=50)
    with pytest.raises(Exception, match="H1"):
        device.pull()
    assert Standing.of(device) == before


def _forged(device: Unit, keys: dict[str, int], made: bundles.Made) -> None:
    """The channel as a thief leaves it who wants a release of his own on the device."""
    channel, stranger = device.channel, CryptoSigner.generate_ed25519()
    for role in channel.signed:
        owner = role.rpartition("-")[0] or role
        held = channel.keys[owner][: keys.get(owner, 0)]
        channel.signers[role] = [*held, stranger] if len(held) < len(channel.keys[owner]) else held
    if "root" in keys:
        # New online keys are what a root is stolen for; all others hang on it likewise.
        thief, root = CryptoSigner.generate_ed25519(), channel.root()
        for role in ("targets", *ONLINE):
            for keyid in list(root.roles[role].keyids):
                root.revoke_key(keyid, role)
            root.add_key(thief.public_key, role)
            root.roles[role].threshold = 1
            channel.signers[role] = [thief]
        root.version += 1
        channel.write("root")
    if keys.get("targets", 0) > 1 or "root" in keys:
        thief = CryptoSigner.generate_ed25519()
        for role in ("stable", "cpu"):
            _delegated(device, "targets", role, thief)
        _delegated(device, "cpu", None, thief)
        for role in channel.signed:
            if role == "stable" or role.partition("-")[0] == "cpu":
                channel.signers[role] = [thief]
        channel.commit("targets", "cpu")
    channel.publish(made)
    if "targets" in keys:
        channel.commit("targets")


def _unpinned(device: Unit, start: str) -> None:
    """The snapshot names roles that begin so by version alone, as it does bins when published."""
    channel = device.channel
    snapshot, timestamp = channel.signed["snapshot"], channel.signed["timestamp"]
    assert isinstance(snapshot, Snapshot) and isinstance(timestamp, Timestamp)
    for name, meta in snapshot.meta.items():
        if name.startswith(start):
            meta.hashes = meta.length = None
    content = channel.write("snapshot")
    timestamp.snapshot_meta = MetaFile.from_data(snapshot.version, content, ["sha256"])
    channel.write("timestamp")


def _delegated(device: Unit, above: str, role: str | None, key: CryptoSigner) -> None:
    """A role, or its bins, are another key's."""
    delegations = device.channel.targets(above).delegations
    assert delegations is not None
    delegations.keys[key.public_key.keyid] = key.public_key
    roles, bins = delegations.roles, delegations.succinct_roles
    owner = roles[role] if roles is not None and role is not None else bins
    assert owner is not None
    owner.keyids = [key.public_key.keyid]


# --- small things ---------------------------------------------------------------------------------


def _again(device: Unit, role: str) -> None:
    """A role's next version is published."""
    if role == "root":
        device.channel.root().version += 1
        device.channel.write("root")
    else:
        device.channel.commit(*([] if role in ONLINE else [role]))


def _path(device: Unit, what: str) -> str:
    """Where the device will ask for something of its next release."""
    part = a_part(device)
    if what == "target":
        newest = max((device.channel.public / "targets/stable").iterdir(), key=_age)
        return str(newest.relative_to(device.channel.public))
    return {"timestamp": TIMESTAMP, "root": "metadata/2.root.json", "part": part}[what]


def _renamed(device: Unit, *names: str) -> None:
    """A release with more files, under names that nobody would lay down as they are."""
    made = device.made(encoder=2)
    document = made.document
    files = {**document["files"], **dict.fromkeys(names, bytes_digest(EVIL))}
    sizes = {**document["bytes"], **dict.fromkeys(names, len(EVIL))}
    device.release(encoder=2, manifest={"files": files, "bytes": sizes})
    device.channel.lay(f"parts/{part_path(bytes_digest(EVIL))}", EVIL)


def _contents(device: Unit) -> list[bytes]:
    """Every file the device holds."""
    return [path.read_bytes() for path in device.config.state.rglob("*") if path.is_file()]


def _age(path: Path) -> int:
    return path.stat().st_mtime_ns
