import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firnline.contracts.ensemble import Split
from firnline.errors import HandshakeError
from models.recipe import Frame
from models.split import by_hash, folds, places, split


def build(entities, rows):
    names = np.repeat([f"e{number}" for number in range(entities)], rows)
    times = np.tile(np.arange(rows, dtype=np.int64) * 60_000_000, entities)
    order = np.random.default_rng(0).permutation(len(names))
    return Frame(
        features=np.zeros((len(names), 1), np.float32),
        names=("v__a",),
        entities=names[order],
        times=times[order],
    )


@given(
    entities=st.integers(3, 30),
    rows=st.integers(4, 20),
    share=st.floats(0.05, 0.6),
    until=st.floats(0.3, 0.8),
)
def test_nothing_that_tests_was_trained_on(entities, rows, share, until):
    frame = build(entities, rows)
    parts = split(frame, Split(holdout_entities=share, train_fraction=until))
    trained, tested = (set(frame.entities[mask]) for mask in (parts.train, parts.test))
    assert len(tested) == int(np.ceil(share * entities))
    assert not trained & tested
    assert frame.times[parts.train].max() < frame.times[parts.test].min()
    assert not (parts.train & parts.later).any()
    assert set(frame.entities[parts.later]) == trained


def test_the_gap_belongs_to_nobody():
    frame = build(10, 11)
    how = Split(train_fraction=0.5, gap="PT2M")
    parts = split(frame, how)
    assert set(frame.times[parts.train] // 60_000_000) == {0, 1, 2, 3, 4, 5}
    assert set(frame.times[parts.later] // 60_000_000) == {8, 9, 10}


def test_first_rows_of_every_entity_train():
    frame = build(4, 9)
    parts = split(frame, Split(kind="first-rows", first_rows=5))
    assert np.array_equal(parts.train, frame.times < 5 * 60_000_000)
    assert np.array_equal(parts.test, ~parts.train)


@given(entities=st.integers(1, 25), count=st.integers(2, 6))
def test_every_training_row_is_predicted_once_by_a_fit_that_has_not_seen_its_entity(
    entities, count
):
    frame = build(entities, 4)
    train = frame.times < 3 * 60_000_000
    pairs = folds(frame, train, Split(folds=count))
    for fit_on, predict in pairs:
        assert not (fit_on & predict).any()
        assert not ((fit_on | predict) & ~train).any()
    if entities >= count:
        assert np.array_equal(sum(predict.astype(int) for _, predict in pairs), train.astype(int))
        for fit_on, predict in pairs:
            assert not set(frame.entities[fit_on]) & set(frame.entities[predict])


def test_folds_by_time_predict_the_last_block_from_those_before():
    frame = build(3, 12)
    train = frame.times < 8 * 60_000_000
    ((fit_on, predict),) = folds(frame, train, Split(fold_by="time", folds=4))
    assert set(frame.times[fit_on] // 60_000_000) == {0, 1, 2, 3, 4, 5}
    assert set(frame.times[predict] // 60_000_000) == {6, 7}


def test_places_count_rows_in_time():
    frame = build(3, 5)
    assert np.array_equal(places(frame), frame.times // 60_000_000)


def test_hash_order_does_not_change():
    assert by_hash(["a", "b", "c"]) == ["c", "b", "a"]


def test_an_empty_part_is_refused():
    with pytest.raises(HandshakeError, match="M12"):
        split(build(1, 5), Split())
    with pytest.raises(HandshakeError, match="M12"):
        split(build(2, 5), Split(kind="first-rows", first_rows=5))
