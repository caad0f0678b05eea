"""Every attack that the channel's client must name, against a real channel and a real server."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import SimpleNamespace

import pytest
from securesystemslib.signer import CryptoSigner

from edge.agent.clock import TrustedClock
from edge.agent.config import Config
from edge.agent.fetch import Fetcher
from edge.agent.limits import check_manifest
from edge.agent.trust import Polled, poll
from edge.disk import RealDisk
from edge.verify import parse_manifest
from firnline.errors import DeliveryError
from firnline.rollout.assignment import Pin, Wave, render
from tests.edge.agent import bundles
from tests.edge.agent.channels import Channel, Site, device, serve

ASSIGNMENT = "stable/small.json"
TIMESTAMP = "metadata/timestamp.json"
ONLINE = {"timestamp", "snapshot"}
NEW_ROOT = "metadata/2.root.json"


class World(SimpleNamespace):
    """A channel with one release, its server, and a device that has polled once."""

    made: bundles.Made
    channel: Channel
    site: Site
    config: Config
    fetcher: Fetcher

    def poll(self, clock: TrustedClock | None = None, floor: int = 0, keys: str = "") -> Polled:
        return poll(self.config, RealDisk(), self.fetcher, clock or TrustedClock(), floor, keys)

    def refused(self, clock: TrustedClock | None = None, floor: int = 0) -> DeliveryError:
        with pytest.raises(DeliveryError) as refused:
            self.poll(clock, floor)
        return refused.value

    def other(self, number: int = 2) -> bundles.Made:
        return bundles.make(self.config.state.parent / f"bundle-{number}", encoder=number)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> bundles.Made:
    return bundles.make(tmp_path_factory.mktemp("bundle") / "made")


@pytest.fixture
def world(tmp_path: Path, made: bundles.Made):
    channel = Channel(tmp_path / "public")
    channel.publish(made)
    with serve(channel.public) as site:
        config = device(tmp_path / "device", site, channel)
        with Fetcher(site.url, config.limits) as fetcher:
            it = World(made=made, channel=channel, site=site, config=config, fetcher=fetcher)
            it.poll()
            yield it


def test_first_poll_gives_what_was_published(tmp_path: Path, made: bundles.Made) -> None:
    channel = Channel(tmp_path / "public")
    assignment = channel.publish(made)
    with serve(channel.public) as site:
        config = device(tmp_path / "device", site, channel)
        with Fetcher(site.url, config.limits) as fetcher:
            found = poll(config, RealDisk(), fetcher, TrustedClock())
    assert found.offer is not None and not found.unchanged
    assert (found.offer.manifest, found.offer.release) == (made.manifest, made.release)
    assert found.offer.assignment == assignment and found.version == 1
    assert found.issued == channel.now
    assert set(found.expires) == {"root", "timestamp", "snapshot", "targets", "stable", "cpu"}
    check_manifest(parse_manifest(found.offer.manifest, "offer"), found.offer, config.limits)


def test_idle_poll_is_two_requests_and_still_offers(world: World) -> None:
    sent, received = len(world.site.log), world.fetcher.received
    found = world.poll()
    assert found.unchanged and found.offer is not None and found.offer.manifest
    assert [(path, status) for path, status, _ in world.site.log[sent:]] == [
        (NEW_ROOT, 404),
        (TIMESTAMP, 304),
    ]
    assert world.fetcher.received - received < 512


def test_a_restarted_agent_needs_two_requests_as_well(world: World) -> None:
    with Fetcher(world.site.url, world.config.limits) as fetcher:
        world.fetcher = fetcher
        assert world.poll().unchanged
        assert fetcher.requests == 2 and fetcher.received < 1000


def test_next_release_is_offered_and_the_old_manifest_dropped(world: World) -> None:
    other = world.other()
    world.channel.publish(other)
    found = world.poll()
    assert found.offer is not None and found.offer.release == other.release
    assert found.version == 2 and not found.unchanged
    documents = world.config.state / "trust" / "documents"
    assert found.offer.sha256 in {path.name for path in documents.iterdir()}
    assert len(list(documents.iterdir())) == 2


def test_no_wave_has_reached_the_device(world: World) -> None:
    world.channel.publish(world.made, waves=(Wave(1e-9, world.made.release),))
    found = world.poll()
    assert found.offer is None and found.version == 2


def test_every_online_key_can_be_rotated(world: World) -> None:
    for role in ("timestamp", "snapshot"):
        world.channel.rotate(role)
        world.channel.commit()
        assert not world.poll().unchanged


def test_a_torn_cache_is_fetched_again(world: World) -> None:
    trust = world.config.state / "trust"
    for path in [path for path in trust.rglob("*") if path.is_file()]:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    (trust / "tmpabc").write_bytes(b"{")
    assert world.poll().offer is not None
    assert not list(trust.glob("tmp*"))


def test_a_state_that_cannot_be_written(world: World) -> None:
    world.config = replace(world.config, state=world.config.root)
    assert world.refused().code == "U21"


# --- keys -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets", "stable", "bin"])
def test_metadata_by_a_wrong_key(world: World, role: str) -> None:
    role = world.channel.bin(world.made.path) if role == "bin" else role
    world.channel.signers[role] = [CryptoSigner.generate_ed25519(), CryptoSigner.generate_ed25519()]
    world.channel.commit(*([] if role in {"timestamp", "snapshot"} else [role]))
    _named(world.refused(), "U2", "wrong key", role)


def test_a_root_by_wrong_keys(world: World) -> None:
    world.channel.signers["root"] = [CryptoSigner.generate_ed25519() for _ in range(3)]
    world.channel.rotate("timestamp")
    _named(world.refused(), "U2", "wrong key", "root")


def test_a_signature_that_does_not_verify(world: World) -> None:
    path = world.channel.public / TIMESTAMP
    world.channel.commit()
    path.write_bytes(path.read_bytes().replace(b'"issued":"20', b'"issued":"19'))
    _named(world.refused(), "U2", "wrong key", "timestamp")


@pytest.mark.parametrize("role", ["root", "targets"])
def test_one_signature_where_two_are_needed(world: World, role: str) -> None:
    world.channel.signers[role] = world.channel.keys[role][:1]
    if role == "root":
        world.channel.rotate("timestamp")
    else:
        world.channel.commit("targets")
    _named(world.refused(), "U3", "below threshold: 1 of 2", role)


def test_a_root_that_does_not_sign_itself(world: World) -> None:
    old, root = world.channel.keys["root"], world.channel.root()
    world.channel.keys["root"] = [CryptoSigner.generate_ed25519() for _ in range(3)]
    for before, after in zip(old, world.channel.keys["root"], strict=True):
        root.revoke_key(before.public_key.keyid, "root")
        root.add_key(after.public_key, "root")
    world.channel.signers["root"] = [*old, world.channel.keys["root"][0]]
    world.channel.rotate("timestamp")
    _named(world.refused(), "U3", "below threshold: 1 of 2", "root")


def test_no_signature_at_all(world: World) -> None:
    world.channel.signers["timestamp"] = []
    world.channel.commit()
    _named(world.refused(), "U3", "below threshold: 0 of 1", "timestamp")


# --- time -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["snapshot", "targets", "stable", "cpu", "bin"])
def test_an_expired_role(world: World, role: str) -> None:
    role = world.channel.bin(world.made.path) if role == "bin" else role
    world.channel.signed[role].expires = datetime.now(UTC) - timedelta(days=1)
    world.channel.commit(*([] if role == "snapshot" else [role]))
    _named(world.refused(), "U4", f"expired role: {role} expired", role)


def test_an_expired_root(world: World) -> None:
    world.channel.root().expires = datetime.now(UTC) - timedelta(days=1)
    world.channel.rotate("timestamp")
    world.channel.commit()
    _named(world.refused(), "U4", "expired role: root expired", "root")


def test_a_frozen_channel(world: World) -> None:
    later = TrustedClock(system=lambda: world.channel.until + timedelta(hours=1))
    _named(world.refused(later), "U5", "freeze", "timestamp")


def test_a_frozen_channel_that_withholds_the_rest(world: World) -> None:
    world.site.faults["metadata/2.snapshot.json"] = _status(404)
    later = TrustedClock(system=lambda: world.channel.until + timedelta(hours=1))
    _named(world.refused(later), "U5", "freeze", "timestamp")


def test_what_comes_to_a_device_that_slept_is_named_all_the_same(world: World) -> None:
    old = (world.channel.public / TIMESTAMP).read_bytes()
    world.channel.commit()
    world.poll()
    awake = TrustedClock(system=lambda: world.channel.until + timedelta(days=1))
    world.channel.lay(TIMESTAMP, old)
    _named(world.refused(awake), "U7", "replayed timestamp", "timestamp")
    world.channel.signers["timestamp"] = [CryptoSigner.generate_ed25519()]
    world.channel.commit()
    _named(world.refused(awake), "U2", "wrong key", "timestamp")
    world.site.faults[TIMESTAMP] = _status(404)
    _named(world.refused(awake), "U17", "the channel cannot be reached", "timestamp")


def test_signed_time_is_believed_before_the_clock(world: World) -> None:
    world.channel.signed["stable"].expires = world.channel.now - timedelta(days=2)
    world.channel.commit("stable")
    past = TrustedClock(system=lambda: datetime(1970, 1, 1, tzinfo=UTC))
    _named(world.refused(past), "U4", "expired role: stable", "stable")


@pytest.mark.parametrize("role", ["root", "snapshot", "targets"])
def test_signed_time_ends_what_was_read_before_it_was_known(world: World, role: str) -> None:
    world.channel.signed[role].expires = world.channel.now - timedelta(days=2)
    if role == "root":
        world.channel.now -= timedelta(days=1)
        world.channel.signed["timestamp"].expires = world.channel.now - timedelta(days=5)
        world.channel.rotate("timestamp")
        world.channel.signed["timestamp"].expires = world.channel.until
    world.channel.commit(*(["targets"] if role == "targets" else []))
    past = TrustedClock(system=lambda: datetime(1970, 1, 1, tzinfo=UTC))
    error = world.refused(past)
    assert error.code == ("U18" if role == "root" else "U4"), error


def test_a_device_without_a_battery_polls(world: World) -> None:
    past = TrustedClock(system=lambda: datetime(1970, 1, 1, tzinfo=UTC))
    assert world.poll(past).issued == world.channel.now


def test_a_clock_years_ahead(world: World) -> None:
    ahead = TrustedClock(system=lambda: world.channel.now + timedelta(days=2000))
    error = world.refused(ahead)
    _named(error, "U18", "", "clock")
    assert "set the clock" in error.mend


def test_a_timestamp_from_the_far_future(world: World) -> None:
    world.channel.now += timedelta(days=20000)
    world.channel.signed["timestamp"].expires = world.channel.now + timedelta(days=1)
    world.channel.commit()
    _named(world.refused(), "U18", "a clock that cannot be right", "timestamp")


# --- versions -------------------------------------------------------------------------------------


def test_a_replayed_timestamp(world: World) -> None:
    old = (world.channel.public / TIMESTAMP).read_bytes()
    world.channel.commit()
    world.poll()
    world.channel.lay(TIMESTAMP, old)
    _named(world.refused(), "U7", "replayed timestamp: version 2, after version 3", "timestamp")


def test_a_replayed_timestamp_after_the_cache_was_lost(world: World) -> None:
    for path in (world.config.state / "trust").glob("*.json"):
        path.unlink()
    seen = TrustedClock(floor=world.channel.now + timedelta(days=1))
    _named(world.refused(seen), "U7", "replayed timestamp: issued", "timestamp")
    first = TrustedClock(floor=datetime.min.replace(tzinfo=UTC))
    assert world.poll(first).issued == world.channel.now


def test_a_timestamp_that_names_an_older_snapshot(world: World) -> None:
    world.channel.commit()
    world.poll()
    snapshot = world.channel.signed["snapshot"]
    snapshot.version -= 2
    world.channel.commit()
    _named(world.refused(), "U6", "rollback", "timestamp")


def test_a_snapshot_that_rolls_a_role_back(world: World) -> None:
    world.channel.commit("targets")
    world.poll()
    world.channel.signed["targets"].version -= 2
    world.channel.commit("targets")
    _named(world.refused(), "U6", "rollback", "snapshot")


def test_a_channel_of_many_roots(world: World) -> None:
    for _ in range(260):
        world.channel.rotate("timestamp")
    world.channel.commit()
    assert world.poll().offer is not None


def test_an_old_root_under_the_next_number(world: World) -> None:
    world.channel.lay(NEW_ROOT, world.channel.root_bytes)
    _named(world.refused(), "U6", "rollback", "root")


def test_a_newer_root_under_the_next_number(world: World) -> None:
    world.channel.rotate("timestamp")
    world.channel.rotate("timestamp")
    (world.channel.public / "metadata/3.root.json").replace(world.channel.public / NEW_ROOT)
    _named(world.refused(), "U8", "mix-and-match", "root")


def test_an_older_assignment_in_newer_metadata(world: World) -> None:
    world.channel.publish(world.made, version=1)
    _named(world.refused(floor=2), "U6", "rollback: assignment version 1, after version 2", "small")


def test_a_version_that_a_thief_signed_falls_with_the_stolen_key(world: World) -> None:
    highest = (1 << 53) - 1
    world.channel.publish(world.made, version=highest)
    seen = world.poll()
    assert seen.version == highest
    world.channel.publish(world.made, version=2)
    _named(world.refused(floor=highest), "U6", "rollback", "small")
    world.channel.delegate("stable")
    world.channel.commit("targets", "stable")
    found = world.poll(floor=highest, keys=seen.keys)
    assert found.version == 2 and found.keys != seen.keys
    assert world.refused(floor=3).code == "U6"


def test_a_clock_that_a_thief_moved_is_overtaken_by_metadata_that_last_longer(world: World) -> None:
    root_end = world.channel.root().expires
    world.channel.now = root_end
    world.channel.signed["timestamp"].expires = root_end + timedelta(days=1)
    world.channel.commit()
    assert world.refused().code == "U4"
    poisoned = TrustedClock(floor=root_end)
    world.channel.now = datetime.now(UTC).replace(microsecond=0)
    for signed in world.channel.signed.values():
        signed.expires = root_end + timedelta(days=10)
    world.channel.rotate("timestamp")
    world.channel.commit(*[role for role in world.channel.signed if role not in ONLINE | {"root"}])
    assert world.poll(poisoned).offer is not None


def test_a_rollback_by_a_higher_version_is_none(world: World) -> None:
    world.channel.publish(world.other())
    world.poll()
    world.channel.publish(world.made)
    found = world.poll(floor=2)
    assert found.version == 3 and found.offer is not None
    assert found.offer.release == world.made.release


# --- what does not belong together ----------------------------------------------------------------


def test_an_older_snapshot_beside_a_newer_timestamp(world: World) -> None:
    old = (world.channel.public / "metadata/2.snapshot.json").read_bytes()
    world.channel.commit("targets")
    world.channel.lay("metadata/3.snapshot.json", old)
    _named(world.refused(), "U8", "mix-and-match: version 2 of snapshot", "snapshot")


def test_older_targets_beside_a_newer_snapshot(world: World) -> None:
    old = (world.channel.public / "metadata/1.targets.json").read_bytes()
    world.channel.commit("targets")
    world.channel.lay("metadata/2.targets.json", old)
    _named(world.refused(), "U8", "mix-and-match: version 1 of targets", "targets")


def test_a_snapshot_that_leaves_a_role_out(world: World) -> None:
    del world.channel.signed["snapshot"].meta["mcu.json"]
    world.channel.commit()
    _named(world.refused(), "U8", "mix-and-match", "snapshot")


def test_a_first_snapshot_that_leaves_a_role_out(world: World) -> None:
    del world.channel.signed["snapshot"].meta["stable.json"]
    world.channel.commit()
    world.config = replace(world.config, state=world.config.state.with_name("fresh"))
    _named(world.refused(), "U8", "mix-and-match", "metadata")


# --- content --------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["assignment", "snapshot"])
def test_content_that_nobody_signed(world: World, what: str) -> None:
    world.channel.publish(world.other())
    public = world.channel.public
    path = (
        public / "metadata/3.snapshot.json"
        if what == "snapshot"
        else max(public.glob("targets/stable/*"), key=lambda path: path.stat().st_mtime_ns)
    )
    path.write_bytes(bytes(len(path.read_bytes())))
    _named(world.refused(), "U1", "arbitrary software", what if what == "snapshot" else "small")


@pytest.mark.parametrize("value", [1.5, "\ud800"])
def test_content_that_nobody_can_sign(world: World, value: object) -> None:
    world.channel.commit()
    path = world.channel.public / "metadata/3.snapshot.json"
    forged = json.loads(path.read_bytes())
    forged["signed"]["more"] = value
    path.write_text(json.dumps(forged))
    error = world.refused()
    assert error.code in {"U1", "U9"}, error
    world.config = replace(world.config, state=world.config.state.with_name("fresh"))
    (world.channel.public / TIMESTAMP).write_text(json.dumps(forged))
    assert world.refused().code == "U16"


def test_the_track_alone_puts_nothing_on_a_device(world: World) -> None:
    stranger = {world.made.release: {world.made.target: Pin("0" * 64, 10)}}
    world.channel.publish(world.made, pins=stranger)
    _named(world.refused(), "U15", "", "cpu/small")


def test_a_release_that_no_kind_signs(world: World) -> None:
    del world.channel.targets(world.channel.bin(world.made.path)).targets[world.made.path]
    world.channel.commit(world.channel.bin(world.made.path))
    error = world.refused()
    _named(error, "U15", "", "cpu/small")
    assert "signs nothing" in error.found


def test_the_kind_alone_puts_nothing_on_a_device(world: World) -> None:
    forged = world.made.manifest.replace(b"encoder", b"enc0der")
    world.channel.target(world.channel.bin(world.made.path), world.made.path, forged)
    world.channel.commit(world.channel.bin(world.made.path))
    _named(world.refused(), "U15", "", "cpu/small")


def test_an_assignment_of_another_ensemble(world: World) -> None:
    world.channel.publish(world.made, ensemble="other")
    _named(world.refused(), "U12", "extraneous dependency", ASSIGNMENT)


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/b", "", "a" * 65])
def test_a_name_that_leaves_its_folder(world: World, name: str) -> None:
    forged = json.loads(render(world.channel.assignments["stable/small"]))
    forged["ensemble"] = name
    world.channel.target("stable", ASSIGNMENT, json.dumps(forged).encode())
    world.channel.commit("stable")
    _named(world.refused(), "U11", "path traversal", "")


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe", b"[]", b"[" * 100_000, b'{"format":"firnline-assignment/1"}', b"null"],
)
def test_an_assignment_that_is_none(world: World, content: bytes) -> None:
    world.channel.target("stable", ASSIGNMENT, content)
    world.channel.commit("stable")
    _named(world.refused(), "U16", "no readable assignment", ASSIGNMENT)


def test_a_document_too_large(world: World) -> None:
    world.channel.target("stable", ASSIGNMENT, bytes((1 << 20) + 1))
    world.channel.commit("stable")
    _named(world.refused(), "U13", "bomb", ASSIGNMENT)


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"\xff", b"[" * 4000, b'{"signed":{"_type":"timestamp"},"signatures":[]}'],
)
def test_a_timestamp_that_is_none(world: World, content: bytes) -> None:
    world.channel.lay(TIMESTAMP, content)
    _named(world.refused(), "U16", "malformed metadata", "timestamp")


def test_a_document_without_a_canonical_form_is_told_in_few_words(world: World) -> None:
    document = json.loads((world.channel.public / TIMESTAMP).read_bytes())
    document["signed"]["more"] = [0.5, "x" * 1000]
    world.channel.lay(TIMESTAMP, json.dumps(document).encode())
    error = world.refused()
    _named(error, "U16", "malformed metadata: FormatError: ", "timestamp")
    assert len(error.found) < 250


def test_a_snapshot_in_the_place_of_a_timestamp(world: World) -> None:
    world.channel.lay(TIMESTAMP, world.channel.sign("snapshot")[:4096])
    assert world.refused().code in {"U9", "U16"}


@pytest.mark.parametrize(
    "issued", ["yesterday", "2026-01-01T00:00:00", 5, "2026-01-01T00:00:00+09:00"]
)
def test_a_signed_time_that_is_none(world: World, issued: object) -> None:
    world.channel.commit()
    world.channel.signed["timestamp"].unrecognized_fields["issued"] = issued
    world.channel.signed["timestamp"].version += 1
    world.channel.write("timestamp")
    _named(world.refused(), "U16", "malformed metadata", "timestamp")


def test_a_target_without_a_sha256(world: World) -> None:
    target = world.channel.targets("stable").targets[ASSIGNMENT]
    target.hashes = {"sha512": "../../x"}
    world.channel.commit("stable")
    _named(world.refused(), "U16", "malformed metadata", ASSIGNMENT)


def test_a_root_of_trust_that_is_none(world: World) -> None:
    world.config.root.write_bytes(b"{}")
    _named(world.refused(), "U16", "malformed metadata", "root of trust")
    world.channel.signers["root"] = world.channel.keys["root"][:1]
    world.config.root.write_bytes(world.channel.sign("root"))
    _named(world.refused(), "U3", "below threshold: 1 of 2", "given by hand")
    world.config.root.unlink()
    assert world.refused().code == "U30"


# --- the way --------------------------------------------------------------------------------------


def test_nothing_is_assigned(world: World) -> None:
    world.config = replace(world.config, ensemble="absent")
    _named(world.refused(), "U19", "nothing assigned", "absent")
    world.config = replace(world.config, ensemble="small", target="cpu-riscv")
    _named(world.refused(), "U19", "nothing assigned", "small")


@pytest.mark.parametrize("path", [TIMESTAMP, NEW_ROOT])
def test_metadata_without_end(world: World, path: str) -> None:
    world.site.faults[path] = _endless
    _recovers(world, "U9", "endless data", path)


@pytest.mark.parametrize("path", [TIMESTAMP, NEW_ROOT])
def test_metadata_that_drip(world: World, path: str) -> None:
    world.site.faults[path] = _dripping
    _recovers(world, "U10", "slow retrieval", path)


def test_a_server_that_fails_or_withholds(world: World) -> None:
    for status in (404, 500, 302):
        world.site.faults[TIMESTAMP] = _status(status)
        _recovers(world, "U17", "the channel cannot be reached", TIMESTAMP)


def test_nobody_answers(world: World, tmp_path: Path) -> None:
    with serve(tmp_path) as gone:
        url = gone.url
    with Fetcher(url, world.config.limits) as world.fetcher:
        _named(world.refused(), "U17", "the channel cannot be reached", url)


def _recovers(world: World, code: str, name: str, where: str) -> None:
    """Refused, and fine once the attacker has gone."""
    world.channel.commit()
    _named(world.refused(), code, name, where)
    world.site.faults.clear()
    assert world.poll().offer is not None


def _named(error: DeliveryError, code: str, name: str, where: str) -> None:
    assert (error.code, where in error.where) == (code, True), error
    assert error.found.startswith(name), error


def _status(status: int) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response_only(status)
        handler.send_header("Location", "http://elsewhere.invalid/")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


def _endless(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response_only(200)
    handler.end_headers()
    while True:
        handler.wfile.write(bytes(1 << 16))


def _dripping(handler: BaseHTTPRequestHandler) -> None:
    import time

    handler.send_response_only(200)
    handler.end_headers()
    while True:
        handler.wfile.write(b" ")
        time.sleep(0.02)
