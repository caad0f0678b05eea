import numpy as np
import pytest

from models.float_onnx import StageGraph, merge, run
from models.generic.residual import PcaResidual
from models.generic.threshold import CalibratedScore
from models.recipe import Frame

ERROR, EMBEDDING = "residual.reconstruction_error", "residual.embedding"


def rows_of(seed, *, faults=True, missing=0.05, entities=8, rows=60):
    """Two hidden causes seen in six columns; a fault breaks the relation of the last two."""
    random = np.random.default_rng(seed)
    count = entities * rows
    mixing = np.random.default_rng(0).normal(size=(2, 6))
    features = random.normal(size=(count, 2)) @ mixing + 0.1 * random.normal(size=(count, 6))
    faulty = (np.arange(count) % rows >= rows - 8) & faults
    features[faulty, 4:] += random.normal(3.0, 0.5, size=(faulty.sum(), 2)) * [1, -1]
    features[random.random(features.shape) < missing] = np.nan
    return Frame(
        features=features.astype(np.float32),
        names=tuple(f"view__f{place}" for place in range(6)),
        labels=np.where(faulty, "fault", "normal"),
        entities=np.repeat([f"e{number}" for number in range(entities)], rows),
        times=np.tile(np.arange(rows, dtype=np.int64), entities),
    )


def upstream(fitted, frame):
    made = fitted.predict(frame)
    given = {ERROR: made["reconstruction_error"], EMBEDDING: made["embedding"]}
    return Frame(frame.features, frame.names, given, frame.labels, frame.entities, frame.times)


def unlabelled(frame):
    labels = np.full(len(frame), "", dtype=str)
    return Frame(frame.features, frame.names, frame.upstream, labels, frame.entities, frame.times)


@pytest.fixture(scope="module")
def residual():
    return PcaResidual(components=2).fit(rows_of(1), 0)


def test_the_residual_tells_faults_from_normal_windows(residual):
    frame = rows_of(2)
    made = residual.predict(frame)["reconstruction_error"][:, 0]
    faulty = frame.labels == "fault"
    assert np.median(made[faulty]) > 0.8 > 0.4 > np.median(made[~faulty])
    assert 0 <= made.min() <= made.max() <= 1


def test_the_residual_is_the_same_in_its_graph(residual):
    frame = rows_of(3)
    frame.features[0] = np.nan
    made, expected = run(residual.to_onnx(), {"features": frame.features}), residual.predict(frame)
    for name, values in expected.items():
        assert np.isfinite(values).all()
        assert np.allclose(made[name], values, atol=1e-5)


@pytest.mark.parametrize("labelled", [True, False])
def test_the_score_keeps_its_budget_and_finds_faults(residual, labelled):
    train, test = (upstream(residual, rows_of(seed)) for seed in (4, 5))
    fitted = CalibratedScore(false_alarms=0.05).fit(train if labelled else unlabelled(train), 0)
    scores = fitted.predict(test)["score"][:, 0]
    flagged, faulty = scores > fitted.threshold, test.labels == "fault"
    assert 0 <= scores.min() <= scores.max() <= 1
    # Without labels the budget is of all rows, faults among them.
    assert flagged[~faulty].mean() < 0.1
    assert flagged[faulty].mean() > (0.9 if labelled else 0.3)
    assert scores[faulty].mean() > scores[~faulty].mean()


@pytest.mark.parametrize("given", [(ERROR,), (EMBEDDING,), (ERROR, EMBEDDING)])
def test_the_merged_graph_is_both_stages(residual, given):
    frame = upstream(residual, rows_of(6))
    chosen = {name: frame.upstream[name] for name in given}
    frame = Frame(frame.features, frame.names, chosen, frame.labels, frame.entities, frame.times)
    fitted = CalibratedScore().fit(frame, 0)
    outputs = (("reconstruction_error", 1), ("embedding", 2))
    merged = merge(
        [
            StageGraph("residual", residual.to_onnx(), frame.names, outputs),
            StageGraph("score", fitted.to_onnx(), frame.names, (("score", 1),)),
        ]
    )
    made = run(merged, {"features": frame.features})["score.score"]
    assert np.allclose(made, fitted.predict(frame)["score"], atol=1e-5)


def test_equal_rows_give_equal_bytes(residual):
    assert PcaResidual(components=2).fit(rows_of(1), 9).to_onnx() == residual.to_onnx()
    frame = upstream(residual, rows_of(7))
    made = {CalibratedScore().fit(frame, seed).to_onnx() for seed in (0, 1)}
    assert len(made) == 1


def test_still_and_empty_columns_are_no_trouble():
    frame = rows_of(8)
    frame.features[:, 0], frame.features[:, 1] = 5.0, np.nan
    fitted = PcaResidual(components=3).fit(frame, 0)
    assert np.isfinite(fitted.predict(rows_of(9))["embedding"]).all()


def test_few_entities_and_one_moment_will_do():
    frame = rows_of(10, entities=1, rows=12, faults=False)
    one = Frame(frame.features, frame.names, {}, frame.labels, frame.entities, frame.times * 0)
    for rows in (frame, one):
        assert np.isfinite(PcaResidual(2).fit(rows, 0).predict(rows)["embedding"]).all()


def test_what_cannot_be_fitted_is_named():
    frame = rows_of(11)
    with pytest.raises(ValueError, match="components is 6"):
        PcaResidual(components=6).fit(frame, 0)
    with pytest.raises(ValueError, match="no training row is labelled normal"):
        PcaResidual(components=2).fit(frame.rows(frame.labels == "fault"), 0)
    with pytest.raises(ValueError, match="reads no upstream output"):
        CalibratedScore().fit(frame, 0)
