"""The hourly look at a channel: a real one, its clock, its keys and its files."""

import os
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from edge.channel.renew import renew
from edge.channel.repository import Repository, utc_now
from edge.channel.status import status
from firnline.contracts.offer import Offer
from firnline.decision import Decision
from firnline.errors import DeliveryError
from flows.channel_audit import damage
from flows.channel_watch import judge, refuse
from flows.failed_runs import Again, taken_back
from tests.edge.channel import stands
from tests.edge.channel.test_thief import Thief


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A channel with a release, its keys in the environment."""
    keys = stands.make_keys(generations=1)
    os.environ.update(keys)
    folder = tmp_path_factory.mktemp("watched")
    stands.make_channel(folder / "channel", bits=1)
    stands.Releases(folder / "releases").put(Repository(folder / "channel"), 1)
    yield folder / "channel"
    for name in keys:
        os.environ.pop(name)


@pytest.fixture
def channel(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "channel")
    return tmp_path / "channel"


def variables(role: str) -> list[str]:
    """Where a role's keys are."""
    return [uri.removeprefix("env:") for uri in stands.uris(role)]


def looked(channel: Path, days: float = 0, again: Again | None = None) -> Decision:
    """What the watch concludes, so many days from now."""
    repository = Repository(channel, now=lambda: utc_now() + timedelta(days=days))
    renewed = renew(repository)
    found = status(repository, open_keys=True)
    return judge(renewed, found, damage(repository.state()), again)


def test_a_whole_channel_is_healthy_and_nothing_is_renewed(channel: Path) -> None:
    decision = looked(channel)
    assert (decision.kind, decision.verdict, decision.rules) == ("channel", "healthy", ())
    assert decision.numbers["problems"] == decision.numbers["renewed"] == 0
    assert len(decision.inputs["root"]) == 64
    refuse(decision)
    assert looked(channel) == decision, "an hour without news adds no line to the ledger"


def test_online_roles_are_renewed_before_they_end(channel: Path) -> None:
    before = Repository(channel).state().timestamp.signed
    period = (before.expires - utc_now()).total_seconds() / 86_400
    decision = looked(channel, days=0.75 * period)
    assert decision.verdict == "healthy"
    assert "timestamp" in decision.reason
    after = Repository(channel).state().timestamp.signed
    assert after.version > before.version
    assert after.expires > before.expires


def test_a_role_of_people_that_ends_soon_fails_the_look(
    channel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in variables("root"):
        monkeypatch.delenv(name)
    ends = Repository(channel).state().root.signed.expires
    decision = looked(channel, days=(ends - utc_now()).days - 5)
    assert decision.verdict == "needs people"
    assert "root expires in" in decision.reason
    with pytest.raises(DeliveryError, match=r"V9.*root expires in") as caught:
        refuse(decision)
    assert caught.value.code == "V9"


@pytest.mark.parametrize("lost", [True, False])
def test_an_online_key_that_cannot_sign_fails_the_look(
    channel: Path, monkeypatch: pytest.MonkeyPatch, lost: bool
) -> None:
    (name,), (other,) = variables("snapshot"), variables("timestamp")
    if lost:
        monkeypatch.delenv(name)
    else:
        monkeypatch.setenv(name, os.environ[other])
    with pytest.raises(DeliveryError, match=r"of snapshot") as caught:
        refuse(looked(channel))
    assert caught.value.code == "V2"


@pytest.mark.parametrize("pattern", ["parts/*/*", "targets/cpu/*/*/*.json"])
@pytest.mark.parametrize("gone", [True, False])
def test_a_file_that_devices_could_not_pull_is_named(
    channel: Path, pattern: str, gone: bool
) -> None:
    path = sorted((channel / "public").glob(pattern))[0]
    content = path.read_bytes()
    path.unlink() if gone else path.write_bytes(content[:-2] + b"?\n")
    (told,) = damage(Repository(channel).state())
    assert "cpu/small/cpu-x86_64/" in told
    assert ("cannot be read" if gone else "other bytes") in told
    with pytest.raises(DeliveryError, match="cpu/small") as caught:
        refuse(looked(channel))
    assert caught.value.code == "V6"


def test_publications_that_failed_are_told_and_need_people_in_the_end(channel: Path) -> None:
    decision = looked(channel, again=Again(started=("small aaaaaaaaaaaa",)))
    assert decision.verdict == "healthy"
    assert decision.reason.endswith("; publication started again: small aaaaaaaaaaaa")
    assert decision.numbers["started_again"] == 1
    with pytest.raises(DeliveryError, match=r"V15.*failed 4 times: V2"):
        refuse(looked(channel, again=Again(stuck=("release aaaaaaaaaaaa failed 4 times: V2",))))


def test_a_release_that_was_taken_back_is_known(channel: Path, tmp_path: Path) -> None:
    releases = stands.Releases(tmp_path / "more")
    repository = Repository(channel)
    first, second = (Offer(stands.ENSEMBLE, releases[number].release, "beta") for number in (1, 2))
    assert not taken_back(repository.state(), first)
    releases.put(repository, 2)
    assert taken_back(repository.state(), first)
    assert not taken_back(repository.state(), second)
    releases.put(repository, 1, "canary", 0.1)
    assert not taken_back(repository.state(), first)
    never = Offer("other", "a" * 64, "beta")
    assert not taken_back(repository.state(), never)


def test_what_only_a_thief_would_sign_is_told(channel: Path) -> None:
    Thief(channel / "public").states("beta", "beta/x/../../../evil.json", b"{}")
    with pytest.raises(DeliveryError, match=r"V6.*beta speaks of 1 paths.*evil.*rotate its key"):
        refuse(looked(channel))
