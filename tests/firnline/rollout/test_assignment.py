"""Rules of assignments, over every sequence of rollouts that the rules allow."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firnline.digest import bytes_digest, digest
from firnline.errors import DeliveryError
from firnline.rollout.assignment import Pin, assign, parse, render
from firnline.rollout.cohorts import place

FLEET = [f"unit-{number}" for number in range(60)]
SHARES = st.sampled_from([0.05, 0.1, 0.25, 0.5, 0.9, 1.0])
STEPS = st.lists(st.tuples(st.integers(1, 4), SHARES), min_size=1, max_size=8)


def release(number):
    return digest(["release", number])


def pins(number):
    return {"cpu-x86_64": Pin(digest([number, "manifest"]), 100 + number)}


def rollouts(steps):
    """The assignments that a sequence of releases and shares gives, first to last."""
    found = []
    for number, share in steps:
        before = found[-1] if found else None
        found.append(assign(before, "small", "beta", release(number), pins(number), share))
    return found


@settings(max_examples=150, deadline=None)
@given(STEPS)
def test_every_assignment_survives_its_bytes_and_names_the_one_before(steps) -> None:
    found = rollouts(steps)
    for before, now in zip([None, *found], found, strict=False):
        assert parse(render(now), "here") == now
        assert now.previous == (bytes_digest(render(before)) if before else "")
        assert now.version == (before.version + 1 if before else 1)


@settings(max_examples=50, deadline=None)
@given(STEPS, st.integers(0, 100))
def test_a_version_is_above_what_devices_may_have_seen(steps, above) -> None:
    before = rollouts(steps)[-1]
    for standing in (None, before):
        now = assign(standing, "small", "beta", release(0), pins(0), above=above)
        assert now.version == 1 + max(above, standing.version if standing else 0)
        assert parse(render(now), "here") == now


@settings(max_examples=150, deadline=None)
@given(STEPS)
def test_a_device_gets_the_new_release_or_what_it_had_and_each_has_its_pin(steps) -> None:
    found = rollouts(steps)
    for before, now, (number, share) in zip([None, *found], found, steps, strict=False):
        assert now.newest == release(number)
        assert [wave.share for wave in now.waves] == sorted({wave.share for wave in now.waves})
        assert set(now.pins) == {wave.release for wave in now.waves}
        assert sum(now.share_of(each) for each in now.pins) == pytest.approx(now.waves[-1].share)
        for unit in FLEET:
            given = now.release_for(unit)
            if place(unit, now.salt) < share:
                assert given == release(number)
            elif given is not None and given != release(number):
                assert before is not None and given in {wave.release for wave in before.waves}


@settings(max_examples=60, deadline=None)
@given(st.lists(SHARES, min_size=2, max_size=5).map(sorted))
def test_who_has_a_release_keeps_it_while_it_is_widened(shares) -> None:
    old = rollouts([(1, 1.0)])[0]
    having: set[str] = set()
    before = old
    for share in shares:
        now = assign(before, "small", "beta", release(2), pins(2), share)
        has = {unit for unit in FLEET if now.release_for(unit) == release(2)}
        assert having <= has
        assert {now.release_for(unit) for unit in FLEET} <= {release(1), release(2)}
        having, before = has, now


@pytest.mark.parametrize("share", [0, -0.1, 1.0001, float("nan")])
def test_a_share_that_is_none_is_refused(share) -> None:
    with pytest.raises(DeliveryError) as caught:
        assign(None, "small", "beta", release(1), pins(1), share)
    assert caught.value.code == "V10"


@pytest.mark.parametrize(
    "change",
    [
        {"format": "firnline-assignment/0"},
        {"version": 0},
        {"version": True},
        {"track": "nightly"},
        {"waves": [[0.5, "a" * 64], [0.2, "b" * 64]]},
        {"waves": [[1.0, "c" * 64]]},
        {"waves": [[2.0, "a" * 64]]},
        {"pins": []},
        {"salt": 3},
        {"reason": "x" * 1001},
        {"previous": "short"},
        {"previous": 7},
        {"ensemble": "../etc"},
    ],
)
def test_what_is_no_assignment_is_refused(change) -> None:
    document = json.loads(render(rollouts([(1, 0.5)])[0]))
    with pytest.raises(DeliveryError) as caught:
        parse(json.dumps(document | change).encode(), "the wire")
    assert caught.value.code in ("U11", "U16")


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_break_the_parser(content) -> None:
    with pytest.raises(DeliveryError):
        parse(content, "the wire")
