"""SKAB's stages: graph equals prediction, unknown rigs are scored, test labels are never read."""

import numpy as np
import pytest

from firnline.contracts.ensemble import Ensemble, load
from firnline.errors import HandshakeError
from models.fit import fit_ensemble
from models.float_onnx import merge, run
from models.recipe import Frame
from models.split import split
from tests.resources.project import ROOT

NAMES = (*(f"rig_window__sensor_{place}" for place in range(16)), "rig_window__rig_code")


@pytest.fixture(scope="module")
def manifest() -> Ensemble:
    return load(ROOT / "models" / "skab" / "ensemble.toml")


def frame(rigs: int = 5, rows: int = 600, seed: int = 1) -> Frame:
    """Rigs of one kind with levels of their own; the second half of the test rows is off."""
    random = np.random.default_rng(seed)
    mixing = random.normal(size=(16, 16)) * np.linspace(2, 0.1, 16)
    blocks = []
    for rig in range(rigs):
        values = random.normal(size=(rows, 16)) @ mixing + 10 * rig
        values[rows * 3 // 4 :] += 25 * random.normal(size=16)
        values[0, 8:] = np.nan
        blocks.append(np.hstack([values, np.full((rows, 1), 1_000.0 + 7 * rig)]))
    labels = np.tile(np.where(np.arange(rows) >= rows * 3 // 4, "anomaly", "normal"), rigs)
    return Frame(
        features=np.vstack(blocks).astype(np.float32),
        names=NAMES,
        labels=labels,
        entities=np.repeat([f"rig/{rig}" for rig in range(rigs)], rows),
        times=np.tile(np.arange(rows, dtype=np.int64) * 1_000_000, rigs),
    )


def test_the_graph_computes_what_predict_does(manifest: Ensemble) -> None:
    rows = frame()
    fitted = fit_ensemble(manifest, rows, split(rows, manifest.split))

    outputs = run(merge(fitted.graphs()), {"features": rows.features})

    for name, expected in fitted.predict(rows).items():
        np.testing.assert_allclose(outputs[name], expected, rtol=2e-4, atol=1e-5)


def test_it_finds_what_is_off(manifest: Ensemble) -> None:
    rows = frame()
    fitted = fit_ensemble(manifest, rows, split(rows, manifest.split))

    scores = fitted.rule.scores(fitted.predict(rows))

    flagged = fitted.rule.decisions(scores)
    assert flagged[rows.labels == "anomaly"].mean() > 0.95
    assert flagged[rows.labels == "normal"].mean() < 0.02


def test_labels_are_never_read(manifest: Ensemble) -> None:
    rows = frame()
    parts = split(rows, manifest.split)
    blind = Frame(
        features=rows.features,
        names=rows.names,
        labels=np.where(rows.labels == "normal", "anomaly", "normal"),
        entities=rows.entities,
        times=rows.times,
    )

    seen, unseen = (fit_ensemble(manifest, given, parts) for given in (rows, blind))

    assert merge(seen.graphs()) == merge(unseen.graphs())
    assert seen.rule.threshold == unseen.rule.threshold


def test_a_test_row_changes_nothing_that_was_learnt(manifest: Ensemble) -> None:
    rows = frame()
    parts = split(rows, manifest.split)
    before = merge(fit_ensemble(manifest, rows, parts).graphs())

    rows.features[parts.test] *= 3

    assert merge(fit_ensemble(manifest, rows, parts).graphs()) == before


def test_an_unknown_rig_is_scored_with_what_rigs_share(manifest: Ensemble) -> None:
    rows = frame()
    fitted = fit_ensemble(manifest, rows, split(rows, manifest.split))
    stranger = rows.features[:10].copy()
    stranger[:, -1] = 5.0

    score = run(merge(fitted.graphs()), {"features": stranger})["detector.score"]

    assert np.isfinite(score).all()
    assert ((score >= 0) & (score <= 1)).all()


def test_two_rigs_with_one_code_are_refused(manifest: Ensemble) -> None:
    rows = frame(rigs=2)
    rows.features[:, -1] = 3.0

    with pytest.raises(HandshakeError, match="SK1"):
        fit_ensemble(manifest, rows, split(rows, manifest.split))
