"""Releases move from track to track, to more of the fleet, and back."""

import pytest

from edge.channel.promote import promote
from edge.channel.rollback import rollback
from firnline.errors import DeliveryError
from firnline.rollout.cohorts import place
from tests.edge.channel.stands import ENSEMBLE


def refused(code, action, *given, **options):
    with pytest.raises(DeliveryError) as caught:
        action(*given, **options)
    assert caught.value.code == code


def assigned(repo, track="stable"):
    return repo.state().assignment(track, ENSEMBLE)


def test_a_release_goes_from_beta_to_a_share_of_stable_and_then_to_all(
    repo, device, releases
) -> None:
    old, new = releases[1].release, releases[2].release
    releases.put(repo, 1)
    promote(repo, ENSEMBLE, "stable")
    releases.put(repo, 2, reason="better")
    first = promote(repo, ENSEMBLE, "stable", 0.3)
    assert (first.release, first.share, first.before, first.changed) == (new, 0.3, old, True)
    fleet = [f"unit-{number}" for number in range(40)]
    salt = assigned(repo).salt
    given = {unit: assigned(repo).release_for(unit) for unit in fleet}
    assert given == {unit: new if place(unit, salt) < 0.3 else old for unit in fleet}
    for unit in (fleet[0], next(unit for unit in fleet if given[unit] != given[fleet[0]])):
        assert device.pull("stable", unit).manifest["release"] == given[unit]
    promote(repo, ENSEMBLE, "stable", 0.6)
    wider = [unit for unit in fleet if assigned(repo).release_for(unit) == new]
    assert {unit for unit in fleet if given[unit] == new} < set(wider)
    last = promote(repo, ENSEMBLE, "stable")
    assert last.share == 1.0 and {wave.release for wave in assigned(repo).waves} == {new}
    assert assigned(repo).reason == "better"
    assert not promote(repo, ENSEMBLE, "stable").changed


def test_one_rollout_at_a_time_and_never_narrower(repo, releases) -> None:
    releases.put(repo, 1)
    releases.put(repo, 2, share=0.5)
    refused("V11", releases.put, repo, 3)
    refused("V10", promote, repo, ENSEMBLE, "beta", 0.4)
    refused("V10", promote, repo, ENSEMBLE, "beta", 1.01)
    promote(repo, ENSEMBLE, "beta")
    assert releases.put(repo, 3).changed


def test_what_was_never_published_is_not_promoted(repo, releases) -> None:
    refused("V8", promote, repo, ENSEMBLE, "stable")
    refused("V8", promote, repo, ENSEMBLE, "beta", release="a" * 64)
    refused("V8", promote, repo, ENSEMBLE, "nightly")
    refused("V8", promote, repo, "other", "stable", source="beta")
    refused("V8", rollback, repo, ENSEMBLE, "beta", reason="none there")
    releases.put(repo, 1)
    refused("V8", rollback, repo, ENSEMBLE, "beta", reason="nothing before")
    refused("V8", promote, repo, ENSEMBLE, "stable", release=releases[1].release[:5])
    slip = releases[1].release[:-1] + ("0" if releases[1].release[-1] != "0" else "1")
    refused("V8", promote, repo, ENSEMBLE, "stable", release=slip)
    with pytest.raises(DeliveryError, match="the track beta"):
        promote(repo, "other", "stable")
    assert promote(repo, ENSEMBLE, "stable", release=releases[1].release[:8]).changed


def test_a_rollback_is_a_higher_version_with_the_old_release(repo, device, releases) -> None:
    for number in (1, 2):
        releases.put(repo, number)
        device.pull()
    back = rollback(repo, ENSEMBLE, "beta", reason="false alarms")
    assert (back.release, back.before) == (releases[1].release, releases[2].release)
    pulled = device.pull()
    assert pulled.assignment.version == 3 and pulled.assignment.reason == "false alarms"
    assert pulled.manifest["release"] == releases[1].release
    refused("V8", rollback, repo, ENSEMBLE, "beta", reason="never on to what was left")
    again = rollback(repo, ENSEMBLE, "beta", release=releases[2].release[:12], reason="by name")
    assert again.release == releases[2].release and again.version == 4
    same = rollback(repo, ENSEMBLE, "beta", release=releases[2].release, reason="twice")
    assert not same.changed


def test_an_unfinished_rollout_is_rolled_back_for_all(repo, releases) -> None:
    releases.put(repo, 1)
    releases.put(repo, 2, share=0.1)
    back = rollback(repo, ENSEMBLE, "beta", reason="failing")
    assert back.release == releases[1].release and back.share == 1.0
    assert [wave.share for wave in assigned(repo, "beta").waves] == [1.0]
    assert releases.put(repo, 3).changed


def test_history_is_a_chain_that_the_newest_vouches_for(repo, releases) -> None:
    for number in (1, 2, 3):
        releases.put(repo, number)
    chain = list(repo.state().history("beta", ENSEMBLE))
    assert [found.version for _, found in chain] == [3, 2, 1]
    assert [found.newest for _, found in chain] == [releases[n].release for n in (3, 2, 1)]
    assert [found.previous for _, found in chain] == [chain[1][0], chain[2][0], ""]
    forged = repo.public / "targets" / "beta" / f"{chain[1][0]}.{ENSEMBLE}.json"
    forged.write_bytes(forged.read_bytes().replace(b'"a test"', b'"a lie"'))
    refused("V6", list, repo.state().history("beta", ENSEMBLE))
