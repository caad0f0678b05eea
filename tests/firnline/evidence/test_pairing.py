from datetime import UTC, datetime

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from firnline.evidence.pairing import choose, pair
from firnline.evidence.sampling import sample_rows

QUARTER = 15 * 60 * 1_000_000
DAY = 96 * QUARTER
START = int(datetime(2026, 1, 5, tzinfo=UTC).timestamp()) * 1_000_000


def fleet(devices: int, days: int) -> tuple[np.ndarray, np.ndarray]:
    names = np.array([f"d{number:03}" for number in range(devices)])
    ends = START + QUARTER * np.arange(1, 96 * days + 1)
    return np.repeat(names, len(ends)), np.tile(ends, devices)


def test_each_device_and_day_counts_once() -> None:
    entities, times = fleet(20, 7)
    rows = choose(entities, times, salt="s")
    assert len(rows) == 20 * 7
    assert len({(entities[row], (times[row] - 1) // DAY) for row in rows}) == 140
    assert np.all(np.diff(times[rows]) >= 0)


def test_without_a_unit_each_device_counts_once() -> None:
    entities, times = fleet(20, 7)
    rows = choose(entities, times, salt="s", unit_seconds=None)
    assert sorted(entities[rows]) == sorted(set(entities))


def test_no_time_of_day_is_preferred() -> None:
    entities, times = fleet(300, 7)
    rows = choose(entities, times, salt="s")
    hours = (times[rows] - START) // (4 * QUARTER) % 24
    counts = np.bincount(hours, minlength=24)
    assert counts.min() > 50
    assert counts.max() < 130


@settings(max_examples=60, deadline=None)
@given(st.permutations(range(3 * 2 * 96)))
def test_the_choice_does_not_depend_on_the_order_of_rows(order: list[int]) -> None:
    entities, times = fleet(3, 2)
    shuffled = np.array(order)
    kept = choose(entities, times, salt="s")
    again = shuffled[choose(entities[shuffled], times[shuffled], salt="s")]
    assert kept.tolist() == again.tolist()


def test_a_later_day_leaves_earlier_choices_as_they_were() -> None:
    entities, times = fleet(5, 3)
    early = times <= START + 2 * DAY
    before = choose(entities[early], times[early], salt="s")
    after = choose(entities, times, salt="s")
    assert times[early][before].tolist() == times[after][: len(before)].tolist()


def test_another_salt_chooses_other_windows() -> None:
    entities, times = fleet(20, 7)
    assert choose(entities, times, salt="a").tolist() != choose(entities, times, salt="b").tolist()


def test_pairs_know_who_won() -> None:
    entities = np.array(list("abcde"))
    times = START + DAY * np.arange(1, 6)
    candidate = np.array([True, True, False, True, False])
    live = np.array([False, False, True, True, True])
    faulty = np.array([True, False, True, False, False])
    known = np.array([True, True, True, True, False])
    pairs = pair(entities, times, candidate, live, faulty, known, salt="s")
    assert pairs.wins.tolist() == [True, False, False, False, False]
    assert pairs.losses.tolist() == [False, True, True, False, False]
    assert pairs.unsettled.tolist() == [False, False, False, False, True]
    assert pairs.disagreements.sum() == 4


def test_nothing_to_choose_from() -> None:
    assert len(choose(np.array([], str), np.array([], np.int64), salt="s")) == 0


def test_a_sample_is_even_and_the_same_again() -> None:
    rows = sample_rows(10_000, 2_000, "s")
    assert len(set(rows.tolist())) == 2_000
    assert rows.tolist() == sample_rows(10_000, 2_000, "s").tolist()
    assert abs(rows.mean() - 5_000) < 250
