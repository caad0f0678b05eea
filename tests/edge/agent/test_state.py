"""The state survives what happens to flash, and nothing that is no state passes for one."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.agent.decide import Install, Keep, Refused, Switch, decide, spare
from edge.agent.state import FILES, Attempt, Floor, Refusal, Slot, State, load, parse, render, save
from edge.disk import RealDisk
from firnline.digest import digest
from firnline.errors import DeliveryError

ONE, TWO, THREE = ("1" * 64, "2" * 64, "3" * 64)
WHEN = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
FULL = State(
    slots={"a": Slot(ONE, "a" * 64, confirmed=True), "b": Slot(TWO, "b" * 64)},
    active="b",
    boots=1,
    refused={THREE: Refusal("beta/small@2", "U22", "another score"), ONE: Refusal("x", "H8", "y")},
    attempt=Attempt(THREE, "beta/small@2", 1),
    assigned="beta/small@3",
    floors={"beta/small": Floor(3, "9" * 64)},
    clock_floor=WHEN,
    polled=WHEN,
)


@pytest.mark.parametrize("state", [State(), FULL])
def test_what_is_written_is_read(state: State, tmp_path: Path) -> None:
    save(tmp_path, state, RealDisk())
    assert load(tmp_path) == (state, None)
    assert list(load(tmp_path)[0].refused) == list(state.refused)
    assert (tmp_path / FILES[0]).stat().st_mode & 0o077 == 0


def test_nothing_there_is_no_damage(tmp_path: Path) -> None:
    assert load(tmp_path) == (None, None)


def test_the_copy_stands_in_for_a_worn_state(tmp_path: Path) -> None:
    save(tmp_path, FULL, RealDisk())
    path = tmp_path / FILES[0]
    path.write_bytes(path.read_bytes().replace(b'"boots":1', b'"boots":0'))
    state, damage = load(tmp_path)
    assert state == FULL
    assert damage.code == "U21"
    assert "digest it names" in damage.found
    (tmp_path / FILES[1]).write_bytes(b"")
    assert load(tmp_path)[0] is None


def sealed(**changes) -> bytes:
    """A state with other fields and a digest that is right for them."""
    body = {**json.loads(render(FULL)), **changes}
    del body["digest"]
    return json.dumps({**body, "digest": digest(body)}).encode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"[" * 100_000,
        b"\xff",
        b'{"digest": 1}',
        sealed(format="another/1"),
        sealed(active="c"),
        sealed(active="a", slots={}),
        sealed(slots={"a": {"release": "../..", "manifest": "a" * 64, "confirmed": True}}),
        sealed(slots={"a": {"release": ONE}}),
        sealed(boots="many"),
        sealed(polled="yesterday"),
        sealed(refused=[["../x", {}]]),
        sealed(attempt={"begun": 1}),
    ],
)
def test_what_is_no_state_is_damage(content: bytes) -> None:
    with pytest.raises(DeliveryError, match="U21"):
        parse(content, "state.json")


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 255))
def test_no_flipped_byte_passes(place: int, byte: int) -> None:
    content = bytearray(render(FULL))
    place %= len(content) - 1
    before = content[place]
    content[place] = byte
    try:
        assert parse(bytes(content), "state.json") == FULL
        assert byte == before
    except DeliveryError as error:
        assert error.code == "U21"


def test_of_very_many_refusals_the_oldest_are_forgotten() -> None:
    state = State()
    for number in range(100):
        state = state.refusing(f"{number:064x}", Refusal("beta/small@1", "U22", "differs"))
    assert len(state.refused) == 64
    assert f"{99:064x}" in state.refused
    assert f"{0:064x}" not in state.refused


def test_giving_up_the_slot_that_runs_runs_the_other() -> None:
    assert FULL.without("b").active == "a"
    assert FULL.without("b").boots == 0
    assert FULL.without("a").active == "b"
    assert FULL.without("a").boots == 1
    assert FULL.without("b").without("a").running is None


@pytest.mark.parametrize(
    ("state", "release", "manifest", "step"),
    [
        (State(), ONE, "a" * 64, Install("a")),
        (FULL, TWO, "b" * 64, Keep()),
        (FULL, TWO, "c" * 64, Install("b")),
        (FULL, ONE, "a" * 64, Switch("a")),
        (FULL, THREE, "c" * 64, Install("b")),
        (
            replace(FULL, assigned="beta/small@2"),
            THREE,
            "c" * 64,
            Refused(FULL.refused[THREE]),
        ),
    ],
)
def test_what_an_offer_asks_for(state: State, release: str, manifest: str, step) -> None:
    assert decide(state, release, manifest, state.assigned) == step


SLOTS = st.dictionaries(
    st.sampled_from(["a", "b"]),
    st.builds(Slot, st.sampled_from([ONE, TWO]), st.just("a" * 64), st.booleans()),
)


@given(SLOTS, st.data())
def test_the_next_release_never_costs_the_only_good_one(slots, data) -> None:
    active = data.draw(st.sampled_from(sorted(slots))) if slots else None
    state = State(slots=slots, active=active)
    good = [name for name, slot in slots.items() if slot.confirmed]
    after = state.without(spare(state))
    assert not good or any(after.slots[name].confirmed for name in after.slots)
    assert active is None or after.active is not None or good == []
    if len(slots) == 2:
        assert after.active is not None
