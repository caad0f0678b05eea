"""Keeping a channel: expiry, status, sweeping, and rebuilding what was lost."""

import errno
import json
import shutil
from contextlib import contextmanager
from datetime import timedelta

import pytest

from edge.channel.promote import promote
from edge.channel.renew import renew
from edge.channel.repository import Repository, utc_now
from edge.channel.restore import from_keys, from_mirror
from edge.channel.rollback import rollback
from edge.channel.rotate import rotate
from edge.channel.status import status
from edge.channel.sweep import sweep
from firnline.errors import DeliveryError
from tests.edge.agent import devices
from tests.edge.channel import stands
from tests.edge.channel.stands import ENSEMBLE


def later(repo, **passed):
    moment = utc_now() + timedelta(**passed)
    return Repository(repo.folder, now=lambda: moment)


def every_uri():
    return [uri for role in stands.ROLES for uri in stands.uris(role)]


def all_bytes(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_is_fresh_is_left_alone(small) -> None:
    before = all_bytes(small.public)
    assert renew(small).document() == {"renewed": [], "waiting": []}
    assert all_bytes(small.public) == before


def test_online_roles_are_renewed_when_half_their_time_is_over(small) -> None:
    soon = later(small, days=4)
    assert renew(soon).renewed == ["timestamp"]
    stamp = soon.state().timestamp.signed
    assert timedelta(days=6.9) < stamp.expires - soon.now() <= timedelta(days=7)
    assert stamp.unrecognized_fields["issued"] == soon.now().strftime("%Y-%m-%dT%H:%M:%SZ")
    assert soon.state().snapshot.signed.expires > soon.now() + timedelta(days=13)


def test_all_that_can_be_signed_here_is_renewed_even_long_after_the_end(small) -> None:
    late = later(small, days=400)
    found = renew(late)
    assert found.renewed == list(dict.fromkeys([*stands.PEOPLE, *stands.ROLES]))
    assert not found.waiting and min(role.days for role in status(late).roles) >= 6
    assert late.state().root.signed.version == 2


def test_what_needs_people_is_named_in_good_time(small, monkeypatch) -> None:
    for uri in (*stands.uris("root")[:2], *stands.uris("cpu")):
        monkeypatch.delenv(uri.removeprefix("env:"))
    found = renew(later(small, days=340))
    assert [due.role for due in found.waiting] == ["root", "cpu"]
    root = next(due for due in found.waiting if due.role == "root")
    assert root.days == 24 and root.why.startswith("1 of 2 signatures")
    assert "targets" in found.renewed
    with pytest.raises(DeliveryError, match="root in 24 days") as caught:
        found.hold()
    assert caught.value.code == "V9"


def test_status_tells_what_stands(small, releases, monkeypatch) -> None:
    releases.put(small, 1)
    releases.put(small, 2, share=0.25)
    monkeypatch.delenv(stands.variable("npu", 3))
    found = status(Repository(small.folder), open_keys=True)
    (track,) = found.tracks
    assert (track.track, track.version) == ("beta", 2)
    assert track.shares == {releases[2].release: 0.25, releases[1].release: 0.75}
    assert {release.release for release in found.releases} == {
        releases[number].release[:16] for number in (1, 2)
    }
    assert all(release.tracks == ["beta"] for release in found.releases)
    npu = next(role for role in found.roles if role.name == "npu")
    assert not npu.keys[0].usable and npu.keys[0].problem == "no key"
    assert all(key.usable for role in found.roles if role.name != "npu" for key in role.keys)
    assert json.loads(json.dumps(found.document()))["orphans"] == 0


def test_a_sweep_takes_what_is_long_unassigned_and_nothing_else(small, releases) -> None:
    for number in (1, 2, 3, 4):
        releases.put(small, number)
    promote(small, ENSEMBLE, "stable", release=releases[2].release)
    stray = small.public / "parts" / "ab" / ("ab" * 32)
    stray.parent.mkdir(parents=True, exist_ok=True)
    stray.write_bytes(b"left by a killed publisher")
    assert status(small).orphans == 1
    found = sweep(small, keep=2)
    assert found.releases == 1 and found.files >= 4 and found.bytes > 0
    assert not stray.exists() and status(small).orphans == 0
    there = {release.release for release in status(small).releases}
    assert there == {releases[number].release[:16] for number in (2, 3, 4)}
    with stands.serving(small.public) as url:
        root = (small.public / "metadata" / "1.root.json").read_bytes()
        device = stands.Device(url, root, small.folder / "trust")
        assert device.pull("beta").manifest["release"] == releases[4].release
        assert device.pull("stable").manifest["release"] == releases[2].release
    assert rollback(small, ENSEMBLE, "beta", reason="bad").release == releases[3].release
    with pytest.raises(DeliveryError) as caught:
        sweep(small, keep=0)
    assert caught.value.code == "V12"


def test_old_versions_of_metadata_go_and_the_committed_one_never(small, releases) -> None:
    for share in range(1, 15):
        releases.put(small, 1, share=share / 20)
    names = [path.name for path in (small.public / "metadata").glob("*.beta.json")]
    assert len(names) == 10 and "15.beta.json" in names
    orphan = small.public / "metadata" / "99.cpu.json"
    for number in range(80, 99):
        shutil.copy(
            small.public / "metadata" / "1.cpu.json", orphan.with_name(f"{number}.cpu.json")
        )
    releases.put(small, 1, share=0.9)
    assert (small.public / "metadata" / "1.cpu.json").exists()
    rotate(small, "cpu", stands.uris("cpu", 2))
    assert small.state().role("cpu").signed.version == 99


def test_a_lost_channel_comes_back_from_a_mirror(small, releases, tmp_path) -> None:
    for number in (1, 2):
        releases.put(small, number)
    rotate(small, "root", [*stands.uris("root")[:2], stands.uris("root", 2)[0]])
    root = (small.public / "metadata" / "1.root.json").read_bytes()
    with stands.serving(tmp_path) as url:
        device = stands.Device(f"{url}/channel/public", root, tmp_path / "trust")
        device.pull()
        damaged = next(path for path in (small.public / "parts").rglob("*") if path.is_file())
        damaged.write_bytes(bytes(damaged.stat().st_size))
        found = from_mirror(tmp_path / "new", small.public, root, every_uri())
        name = str(damaged.relative_to(small.public))
        assert found.missing == [name] and (found.root_version, found.releases) == (2, 2)
        new = Repository(tmp_path / "new")
        for number in (1, 2):
            releases.put(new, number)
        moved = stands.Device(f"{url}/new/public", root, device.trust)
        assert moved.pull().manifest["release"] == releases[2].release
        assert rollback(new, ENSEMBLE, "beta", reason="bad").release == releases[1].release
        assert moved.pull().manifest["release"] == releases[1].release


def test_publishing_again_puts_back_what_was_lost(small, releases) -> None:
    releases.put(small, 1)
    before = all_bytes(small.public)
    part, other = [path for path in before if "parts" in path.parts][:2]
    manifest = next(path for path in before if "cpu" in path.parts)
    part.write_bytes(bytes(part.stat().st_size))
    other.unlink(), manifest.unlink()
    again = releases.put(small, 1)
    assert (again.changed, again.parts) == (False, 2)
    assert all_bytes(small.public) == before


def test_a_mirror_that_is_behind_is_put_above_what_devices_saw(small, releases, tmp_path) -> None:
    releases.put(small, 1)
    shutil.copytree(small.public, tmp_path / "mirror")
    for number in (2, 3):
        releases.put(small, number)
    root = (small.public / "metadata" / "1.root.json").read_bytes()
    with stands.serving(tmp_path) as url:
        device = stands.Device(f"{url}/channel/public", root, tmp_path / "trust")
        device.pull()
        from_mirror(tmp_path / "new", tmp_path / "mirror", root, every_uri(), above=50)
        moved = stands.Device(f"{url}/new/public", root, device.trust)
        assert moved.pull().manifest["release"] == releases[1].release
        assert moved.pull().updater._trusted_set.timestamp.version == 51


def test_a_mirror_of_another_root_or_a_forged_one_is_refused(small, releases, tmp_path) -> None:
    releases.put(small, 1)
    other = stands.make_channel(
        tmp_path / "other", bits=1, uris={"root": stands.uris("root", 2)}
    ).root.read_bytes()
    root = (small.public / "metadata" / "1.root.json").read_bytes()
    role = next((small.public / "metadata").glob("2.cpu-*.json"))
    for trusted, forged in ((other, role.read_bytes()), (root, role.read_bytes()[:-30])):
        role.write_bytes(forged)
        with pytest.raises(DeliveryError) as caught:
            from_mirror(tmp_path / "new", small.public, trusted, every_uri())
        assert caught.value.code == "V6"
        assert not (tmp_path / "new" / "public").exists()


def test_from_its_keys_alone_a_channel_starts_over_for_the_same_devices(
    small, releases, tmp_path
) -> None:
    releases.put(small, 1)
    rotate(small, "timestamp", stands.uris("timestamp", 2))
    metadata = small.public / "metadata"
    roots = [(metadata / f"{number}.root.json").read_bytes() for number in (1, 2, 3)]
    with stands.serving(tmp_path) as url:
        device = stands.Device(f"{url}/channel/public", roots[0], tmp_path / "trust")
        device.pull()
        uris = {role: stands.uris(role) for role in stands.ROLES}
        uris["timestamp"] = stands.uris("timestamp", 2)
        found = from_keys(tmp_path / "new", roots, uris, above=1000, bits=1)
        assert Repository(tmp_path / "new").config.above == 1000
        assert (found.root_version, found.releases) == (3, 0)
        releases.put(Repository(tmp_path / "new"), 2)
        moved = stands.Device(f"{url}/new/public", roots[0], device.trust)
        assert moved.pull().manifest["release"] == releases[2].release
    for given, code in (
        ({"roots": [roots[0], roots[2]]}, "V6"),
        ({"roots": []}, "V6"),
        ({"roots": [b"{}"]}, "V6"),
        ({"roots": [roots[0].replace(b'"version":1', b'"version":1,"x":NaN')]}, "V6"),
        ({"roots": [(metadata / "timestamp.json").read_bytes()]}, "V6"),
        ({"uris": {role: uri for role, uri in uris.items() if role != "cpu"}}, "V2"),
        ({"uris": uris | {"targets": uris["targets"][:1]}}, "V4"),
    ):
        with pytest.raises(DeliveryError) as caught:
            from_keys(
                tmp_path / f"refused-{code}-{len(given)}",
                **{"roots": roots, "uris": uris, "above": 9} | given,
            )
        assert caught.value.code == code
    with pytest.raises(DeliveryError) as caught:
        from_keys(tmp_path / "new", roots, uris, above=1)
    assert caught.value.code == "V1"


@pytest.mark.parametrize("number", [3, 4])
def test_from_keys_alone_a_device_that_saw_more_pulls_what_is_published(
    small, releases, tmp_path, number
) -> None:
    with agent_of(small, tmp_path) as agent:
        for seen in (1, 2, 3):
            releases.put(small, seen, "stable")
            installed = agent.pull()
        root = (small.public / "metadata" / "1.root.json").read_bytes()
        uris = {role: stands.uris(role) for role in stands.ROLES}
        above = small.state().timestamp.signed.version
        from_keys(tmp_path / "new", [root], uris, above=above, bits=1)
        replaced(small, tmp_path / "new")
        assert releases.put(small, number, "stable").version == above + 1
        found = agent.pull()
        assert (found.step, found.offered) == (
            ("kept", installed.offered) if number == 3 else ("installed", releases[4].release)
        )


def test_from_an_old_mirror_what_is_said_again_reaches_a_device_that_saw_more(
    small, releases, tmp_path
) -> None:
    with agent_of(small, tmp_path) as agent:
        releases.put(small, 1, "stable")
        shutil.copytree(small.public, tmp_path / "mirror")
        for seen in (2, 3):
            releases.put(small, seen, "stable")
            installed = agent.pull()
        root = (small.public / "metadata" / "1.root.json").read_bytes()
        from_mirror(tmp_path / "new", tmp_path / "mirror", root, every_uri(), above=50)
        replaced(small, tmp_path / "new")
        with pytest.raises(DeliveryError, match="rollback: assignment version 1") as caught:
            agent.pull()
        assert caught.value.code == "U6"
        assert agent.told("status")["release"] == installed.offered
        again = releases.put(small, 1, "stable")
        assert (again.changed, again.version) == (True, 51)
        assert not releases.put(small, 1, "stable").changed
        found = agent.pull()
        assert (found.step, found.offered) == ("installed", releases[1].release)


@pytest.mark.parametrize("how", ["promote", "rollback"])
def test_what_stands_is_said_again_above_the_versions_of_before(
    small, releases, tmp_path, how
) -> None:
    releases.put(small, 1, "stable")
    root = (small.public / "metadata" / "1.root.json").read_bytes()
    from_mirror(tmp_path / "new", small.public, root, every_uri(), above=50)
    new, release = Repository(tmp_path / "new"), releases[1].release
    for changed in (True, False):
        if how == "promote":
            found = promote(new, ENSEMBLE, "stable", release=release)
        else:
            found = rollback(new, ENSEMBLE, "stable", release=release, reason="again")
        assert (found.changed, found.version, found.release) == (changed, 51, release)


@contextmanager
def agent_of(repo, tmp_path):
    """A device of the stable track, with its agent, that polls this channel."""
    root = (repo.public / "metadata" / "1.root.json").read_bytes()
    with stands.serving(tmp_path) as url:
        place = f"{url}/{repo.public.relative_to(tmp_path)}"
        yield devices.device(tmp_path / "device", place, root, ENSEMBLE, stands.TARGET)


def replaced(repo, new):
    """The channel that was restored takes the place of the one that was lost."""
    shutil.rmtree(repo.folder)
    new.rename(repo.folder)
    vars(repo).pop("config", None)


@pytest.mark.parametrize(
    "given", [{"days": {"root": 0}}, {"days": {"nobody": 9}}, {"above": -1}, {"above": 1 << 31}]
)
def test_a_channel_is_not_rebuilt_with_what_none_can_have(small, tmp_path, given) -> None:
    root = (small.public / "metadata" / "1.root.json").read_bytes()
    uris = {role: stands.uris(role) for role in stands.ROLES}
    for rebuild in (
        lambda: from_mirror(tmp_path / "new", small.public, root, every_uri(), **given),
        lambda: from_keys(tmp_path / "new", [root], uris, **{"above": 9} | given),
    ):
        with pytest.raises(DeliveryError) as caught:
            rebuild()
        assert caught.value.code == "V12" and not (tmp_path / "new" / "public").exists()


def test_status_reads_again_what_a_rotation_overtook(small, monkeypatch) -> None:
    """Roots are read first, so a timestamp that another key signed meanwhile does not verify."""
    read, hidden = Repository.state, small.folder / "later"
    metadata = small.public / "metadata"
    monkeypatch.delenv(stands.variable("timestamp", 3))
    rotate(Repository(small.folder), "timestamp", stands.uris("timestamp", 2))
    hidden.mkdir()
    for name in ("2.root.json", "3.root.json"):
        (metadata / name).rename(hidden / name)

    def overtaken(repo):
        try:
            return read(repo)
        finally:
            for path in hidden.iterdir():
                path.rename(metadata / path.name)

    with pytest.raises(DeliveryError, match="enough keys of timestamp"):
        read(small)
    monkeypatch.setattr(Repository, "state", overtaken)
    assert status(small).root_version == 3


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (lambda repo: (repo.folder / "channel.json").unlink(), "V1"),
        (lambda repo: (repo.folder / "channel.json").write_text("{}"), "V12"),
        (lambda repo: (repo.folder / "channel.json").write_text("[1"), "V12"),
        (lambda repo: (repo.folder / "channel.json").write_text("[" * 100_000), "V12"),
        (
            lambda repo: (repo.folder / "channel.json").write_text(
                '{"format": "firnline-channel/1", "keys": {}, "days": {}, "above": "x"}'
            ),
            "V12",
        ),
        (lambda repo: (repo.public / "metadata" / "timestamp.json").unlink(), "V1"),
        (lambda repo: (repo.public / "metadata" / "timestamp.json").write_text("{"), "V6"),
        (lambda repo: (repo.public / "metadata" / "1.root.json").unlink(), "V6"),
        (lambda repo: (repo.public / "metadata" / "1.targets.json").unlink(), "V6"),
    ],
)
def test_a_channel_that_is_not_whole_is_not_written_to(small, releases, damage, code) -> None:
    damage(small)
    before = all_bytes(small.public)
    with pytest.raises(DeliveryError) as caught:
        releases.put(Repository(small.folder), 1)
    assert caught.value.code == code
    assert all_bytes(small.public) == before


def test_a_disk_that_refuses_is_named_and_the_channel_stays_whole(small, releases) -> None:
    releases.put(small, 1)
    before = all_bytes(small.public)

    def full():
        raise OSError(errno.ENOSPC, "No space left on device", "a-part")

    for step in (1, 4, 7):
        with pytest.raises(DeliveryError, match="No space left") as caught:
            releases.put(Repository(small.folder, disk=stands.DyingDisk(step, full)), 2)
        assert (caught.value.code, caught.value.where) == ("V16", "a-part")
        after = all_bytes(small.public)
        assert {path: after[path] for path in before} == before
    assert releases.put(small, 2).changed
