from pathlib import Path

import numpy as np
import pytest

from edge.calibration import choose
from edge.quantize import quantize
from feature_repo.refrigeration.transforms import FEATURES
from firnline.contracts.ensemble import load
from firnline.errors import HandshakeError
from models.evaluate import auc
from models.fit import fit_ensemble
from models.float_onnx import merge, run
from models.recipe import Frame
from models.refrigeration.classifier import CLASSES, FaultClassifier, at_prior, transplanted
from models.refrigeration.encoder import Encoder, medians, rising, robust
from models.split import split

MANIFEST = load(Path("models/refrigeration/ensemble.toml"))
VIEWS = ("device_window", "device_hour")
COLUMNS = tuple(f"{view}__{feature}" for view in VIEWS for feature in FEATURES)
RANDOM_ROWS, DEVICES = 60, 24


@pytest.fixture(scope="module")
def frame():
    """24 devices that differ along 6 directions, 60 windows each; faults on a third of them."""
    random = np.random.default_rng(8)
    mixing = random.normal(size=(6, 90))
    kind = np.repeat(random.normal(size=(DEVICES, 6)), RANDOM_ROWS, axis=0)
    rows = len(kind)
    features = 20 + (kind + 0.3 * random.normal(size=(rows, 6))) @ mixing
    features += 0.3 * random.normal(size=(rows, 90))
    device, window = np.divmod(np.arange(rows), RANDOM_ROWS)
    labels = np.full(rows, CLASSES[0], dtype="<U32")
    for place, name in enumerate(CLASSES[1:3]):
        hit = (device % 4 == place) & (window % 3 == 0)
        labels[hit] = name
        features[np.ix_(hit, range(5 * place, 5 * place + 5))] += random.choice([-4, 4], 5)
    features[random.random(features.shape) < 0.01] = np.nan
    features[np.ix_(device % 3 == 0, [30, 75])] = np.nan
    return Frame(
        features=features.astype(np.float32),
        names=COLUMNS,
        labels=labels,
        entities=np.array([f"REF-{number:03d}" for number in device]),
        times=window.astype(np.int64) * 900_000_000,
    )


@pytest.fixture(scope="module")
def fitted(frame):
    return fit_ensemble(MANIFEST, frame, split(frame, MANIFEST.split))


def test_the_manifest_and_the_recipe_name_the_same_classes():
    assert MANIFEST.decide.classes == CLASSES
    assert MANIFEST.stage[0].outputs[0].width == len(COLUMNS)


def test_each_stage_says_the_same_in_onnx(fitted, frame):
    predicted = fitted.predict(frame)
    for part in fitted.stages:
        inputs = {"features": frame.features, **predicted}
        made = run(part.fitted.to_onnx(), inputs)
        for output in part.stage.outputs:
            difference = made[output.name] - predicted[f"{part.stage.name}.{output.name}"]
            assert np.abs(difference).max() < 1e-5


def test_the_merged_graph_does_too(fitted, frame):
    made = run(merge(fitted.graphs()), {"features": frame.features})
    for name, values in fitted.predict(frame).items():
        assert np.abs(made[name] - values).max() < 1e-5


def test_the_same_frame_gives_the_same_float_and_int8_bytes(fitted, frame):
    parts = split(frame, MANIFEST.split)
    again = fit_ensemble(MANIFEST, frame, parts)
    first, second = merge(fitted.graphs()), merge(again.graphs())
    assert first == second
    assert fitted.rule == again.rule
    rows = choose(frame.rows(parts.train), 256).features
    assert quantize(first, rows, MANIFEST.quantize) == quantize(second, rows, MANIFEST.quantize)


def test_finds_faults_on_devices_it_has_not_seen(fitted, frame):
    test = split(frame, MANIFEST.split).test
    scores = fitted.rule.scores(fitted.predict(frame))
    assert auc(fitted.rule.faults(frame.labels[test]), scores[test]) > 0.9


def test_rows_with_nothing_in_them_still_get_a_score(fitted, frame):
    empty = Frame(np.full((3, 90), np.nan, np.float32), COLUMNS)
    assert np.isfinite(fitted.rule.scores(fitted.predict(empty))).all()


def test_without_labels_stage_1_can_be_trained_and_stage_2_says_why_it_cannot(frame):
    unlabelled = Frame(
        frame.features, frame.names, {}, np.full(len(frame), ""), frame.entities, frame.times
    )
    error = Encoder().fit(unlabelled, 0).predict(unlabelled)["reconstruction_error"]
    assert 0 < error.mean() < 1
    with pytest.raises(HandshakeError, match=r"M11.*classifier.*labelled normal"):
        fit_ensemble(MANIFEST, unlabelled, split(unlabelled, MANIFEST.split))


def test_a_label_that_is_no_class_is_named(frame):
    strange = frame.rows(np.arange(len(frame)))
    strange.labels[0] = "meteorite"
    with pytest.raises(ValueError, match="meteorite"):
        FaultClassifier().fit(strange, 0)


def test_a_transplanted_fault_is_its_trace_on_another_devices_normal():
    rows = np.array([[1, 1], [1, 3], [5, 2], [0, 0], [0, 0]], np.float32)
    features = np.array([[0, 0], [0, 0], [0, 0], [0, np.nan], [0, np.nan]], np.float32)
    frame = Frame(
        features,
        ("v__a", "v__b"),
        {"encoder.residual": rows},
        entities=np.array(["a", "a", "a", "b", "b"]),
    )
    classes = np.array([0, 0, 4, 0, 0])
    made, of = transplanted(frame, classes, 20, 8.0, seed=0)
    assert set(of) == {4}
    # Device a keeps its trace (4, 0); device b reports no second column, so it takes none there.
    assert {tuple(row) for row in made.tolist()} == {(5.0, 2.0), (4.0, 0.0)}


def test_prior_shift_only_moves_the_last_bias(fitted):
    net = fitted.stages[1].fitted.net
    moved = at_prior(net, np.arange(1, 13, dtype=np.float64))
    assert np.allclose(moved.biases[-1] - net.biases[-1], np.log(np.arange(1, 13)), atol=1e-6)


def test_medians_scales_and_knots_survive_columns_that_say_nothing():
    rows = np.array([[np.nan, 2, 1], [np.nan, 2, 3]], np.float32)
    assert medians(rows).tolist() == [0, 2, 2]
    centre, scale = robust(np.nan_to_num(rows))
    assert (scale > 0).all()
    assert centre.tolist() == [0, 2, 2]
    assert (np.diff(rising(np.zeros(5))) > 0).all()
