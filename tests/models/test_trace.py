import numpy as np
import pytest

from firnline.errors import HandshakeError
from models.fit import fit_ensemble
from models.recipe import Frame
from models.split import Parts, folds, split
from models.trace import FLEET, WEEK, crossed, downstream, retrainings, traced_stage, two_versions
from models.trace_measure import PAIRS, measure

pytestmark = pytest.mark.usefixtures("recipes")

ENTITIES, ROWS = 40, 12


@pytest.fixture
def frame():
    """Forty entities whose level rises by one an hour; the last rows of every third are faulty."""
    entity, hour = np.divmod(np.arange(ENTITIES * ROWS), ROWS)
    noise = np.random.default_rng(5).random((len(entity), 2)) / 4
    faulty = (entity % 3 == 0) & (hour >= 10)
    features = noise + hour[:, None] + 3 * faulty[:, None]
    return Frame(
        features=features.astype(np.float32),
        names=("view__a", "view__b"),
        labels=np.where(faulty, "fault", "normal"),
        entities=np.array([f"e{number}" for number in entity]),
        times=hour.astype(np.int64) * 1_000_000,
    )


@pytest.fixture
def chain(manifest, stage):
    def make(first="Centre", **parts):
        stages = [
            stage("encoder", first, "rest") | {"recipe": f"traced_recipes:{first}"},
            stage("limit", "Limit", "score", upstream=["encoder.rest"])
            | {"recipe": "traced_recipes:Limit"},
        ]
        return manifest(stages, **parts)

    return make


def traced(manifest, frame, how):
    parts = split(frame, manifest.split)
    return two_versions(manifest, frame, parts, fit_ensemble(manifest, frame, parts), how)


def test_the_first_stage_that_the_deciding_one_reads_is_traced(manifest, stage):
    stages = [
        stage("aside", "Sum", "total"),
        stage("one", "Sum", "total"),
        stage("two", "Sum", "total", upstream=["one.total"]),
        stage("last", "Score", "score", upstream=["two.total"]),
    ]
    assert traced_stage(manifest(stages)) == "one"
    assert downstream(manifest(stages), "one") == ["two", "last"]
    assert downstream(manifest(stages), "two") == ["last"]


@pytest.mark.parametrize("names", [["last"], ["other", "last"]])
def test_without_a_stage_that_is_read_nothing_can_be_mixed(manifest, stage, names):
    stages = [stage(name, "Score", "score") for name in names]
    with pytest.raises(HandshakeError, match=r"T1.*'last' reads no other stage.*last"):
        traced_stage(manifest(stages))


def test_the_earlier_version_saw_the_first_half_of_each_entity_or_a_quarter_of_them(frame, chain):
    train = split(frame, chain().split).train
    early = WEEK.earlier(frame, train)
    assert (early.sum(), train.sum()) == (32 * 4, 32 * 7)
    assert frame.times[early].max() < frame.times[train & ~early].min()
    quarters = [how.earlier(frame, train) for how in FLEET]
    assert np.array_equal(np.sum(quarters, axis=0), train)
    assert {len(set(frame.entities[rows])) for rows in quarters} == {8}


def test_entities_grow_only_where_stages_speak_of_entities_they_have_not_seen(frame, chain):
    for parts, expected in (
        ({}, (WEEK, *FLEET)),
        ({"split": {"fold_by": "time", "folds": 3, "train_fraction": 0.6}}, (WEEK,)),
        ({"split": {"folds": 10, "train_fraction": 0.6}}, (WEEK,)),
    ):
        manifest = chain(**parts)
        assert retrainings(manifest, frame, split(frame, manifest.split)) == expected


def test_both_downstream_stages_learn_on_the_same_rows_out_of_fold(frame, chain):
    manifest = chain(split={"kind": "first-rows", "first_rows": 8, "fold_by": "time", "folds": 4})
    found = traced(manifest, frame, WEEK)
    first, second = (made.stages[1].fitted.listened[:, 0] for made in found.matched)
    # Version 2 has folds for the last two of eight hours; version 1 has not seen them.
    rows = (frame.times >= 6_000_000) & (frame.times < 8_000_000)
    value = frame.features[rows, 0]
    mean = {hours: frame.features[frame.times < hours * 1e6, 0].mean() for hours in (4, 6)}
    assert first == pytest.approx(value - mean[4], abs=1e-5)
    assert second == pytest.approx(value - mean[6], abs=1e-5)


def test_what_version_1_saw_comes_from_folds_and_the_rest_from_itself(frame, chain):
    manifest = chain()
    found = traced(manifest, frame, FLEET[0])
    train = split(frame, manifest.split).train
    taken_off = np.full(len(frame), np.nan)
    heard = found.matched[0].stages[1].fitted.listened[:, 0]
    taken_off[train] = frame.features[train, 0] - heard
    for fitted_on, rows in (
        *folds(frame, found.earlier, manifest.split),
        (found.earlier, train & ~found.earlier),
    ):
        assert taken_off[rows] == pytest.approx(frame.features[fitted_on, 0].mean(), abs=1e-5)


def test_a_mixed_pair_does_what_the_difference_of_the_versions_makes_it_do(frame, chain):
    manifest = chain()
    found = traced(manifest, frame, WEEK)
    rows = frame.rows(split(frame, manifest.split).test)
    pairs = {(pair.upstream, pair.downstream): pair for pair in measure(found, rows)}

    assert tuple(pairs) == PAIRS
    shift = (
        found.pair(1, 1).predict(rows)["encoder.rest"]
        - found.pair(2, 2).predict(rows)["encoder.rest"]
    )
    assert shift.min() == pytest.approx(shift.max(), abs=1e-5)
    assert shift.min() > 1, "version 2 has seen later and higher rows"
    # A detector with the limit of version 1 hears lower values of version 2: it misses more.
    assert pairs[2, 1].raised == 0 < pairs[2, 1].dropped
    assert pairs[1, 2].dropped == 0
    assert pairs[1, 2].scores.far >= pairs[2, 2].scores.far
    for up, down in PAIRS:
        pair = pairs[up, down]
        assert pair.agreement == 1 - (pair.raised + pair.dropped) / len(rows)
        assert pair.matched == (pair.agreement == 1 and pair.auc_change is None)
    # A shift moves every score alike: no ranking changes, only decisions do.
    assert pairs[2, 1].auc_change.change == 0
    assert pairs[2, 1].brier is None, "its score is declared as no chance"


def test_version_2_is_the_ensemble_as_it_is_trained_anyway(frame, chain):
    manifest = chain()
    parts = split(frame, manifest.split)
    after = fit_ensemble(manifest, frame, parts)
    found = two_versions(manifest, frame, parts, after, WEEK)
    assert found.pair(2, 2).stages == after.stages
    mixed = found.pair(2, 1)
    assert mixed.stages[0] is after.stages[0]
    assert mixed.stages[1] is found.matched[0].stages[1]
    assert mixed.rule == found.matched[0].rule


def test_a_chain_of_three_is_crossed_at_its_first_stage(frame, chain, manifest, stage):
    last = stage("last", "Limit", "score", upstream=["limit.score"])
    stages = [part.model_dump(mode="json") for part in chain().stage]
    three = manifest([*stages, last | {"recipe": "traced_recipes:Limit"}])
    found = traced(three, frame, WEEK)
    one, two = found.matched
    assert found.stage == "encoder"
    for part in (1, 2):
        assert found.pair(2, 1).stages[part] is one.stages[part]
        heard = [made.stages[part].fitted.listened for made in (one, two)]
        assert heard[0].shape == heard[1].shape
        assert not np.array_equal(*heard)


def test_a_stage_that_learns_nothing_has_no_two_versions(frame, chain):
    manifest = chain("Same")
    assert traced(manifest, frame, WEEK) is None
    parts = split(frame, manifest.split)
    after, told = fit_ensemble(manifest, frame, parts), []
    with pytest.raises(HandshakeError, match=r"T2.*'encoder' gave the same model"):
        list(crossed(manifest, frame, parts, after, lambda *of: told.append(of)))
    assert told == [(number, 5) for number in range(5)]


def test_too_few_rows_are_said(frame, chain):
    manifest = chain()
    train = np.zeros(len(frame), bool)
    train[:ROWS] = True
    parts = Parts(train, ~train, np.zeros(len(frame), bool))
    after = fit_ensemble(manifest, frame, split(frame, manifest.split))
    with pytest.raises(HandshakeError, match=r"T3.*to train version 1 on"):
        two_versions(manifest, frame, parts, after, FLEET[3])
