"""Learners' decisions, in ONNX and on a microcontroller."""

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import (
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier
from threadpoolctl import threadpool_limits

from edge.compile.mcu import rows_of, values_of
from edge.lower import lower
from edge.mcu.generate import generate
from edge.mcu.tools import CORES, build
from edge.mcu.tools import run as emulate
from edge.quantize import quantize
from edge.reference import run as reference
from firnline.contracts.quantize import Quantize
from firnline.errors import EvidenceError, HandshakeError
from models.float_onnx import run
from models.forest_onnx import to_onnx
from models.skab.isolation_forest import SENSORS, fitted

ROWS, TRAINED = 600, 300
HOW = {"random_state": 0}
SMALL = {"n_estimators": 8, **HOW}


@pytest.fixture(autouse=True)
def _one_thread():
    """More of them only wait for each other on fits as small as these."""
    with threadpool_limits(1):
        yield


def readings(gaps=False):
    random = np.random.default_rng(1)
    x = random.normal(size=(ROWS, 5)).astype(np.float32)
    kinds = (x[:, 0] * x[:, 1] > 0).astype(int) + (x[:, 2] > 1)
    if gaps:
        x[random.random(x.shape) < 0.1] = np.nan
    return x, kinds


def program_of(forest, x):
    return lower(quantize(forest.model, x, Quantize()).model, "forest")


def equal_everywhere(forest, x):
    """Outputs of ONNX Runtime, once the reference has the same; exp is not defined to the bit."""
    program = program_of(forest, x)
    made = reference(program, {program.inputs[0]: x})
    wanted = run(forest.model, {"features": x})
    for name, value in wanted.items():
        loose = 2e-7 if name in ("score", "probabilities") else 0
        assert np.allclose(value, made[name].reshape(value.shape), rtol=0, atol=loose), name
    return wanted


@pytest.mark.parametrize("learner", [
    RandomForestClassifier(max_depth=5, **SMALL),
    DecisionTreeClassifier(max_depth=4, **HOW),
    GradientBoostingClassifier(**SMALL),
    HistGradientBoostingClassifier(max_iter=5, **HOW),
], ids=lambda one: type(one).__name__)  # fmt: skip
@pytest.mark.parametrize("classes", [2, 3])
def test_classes_are_the_learners(learner, classes):
    x, kinds = readings(gaps=not isinstance(learner, GradientBoostingClassifier))
    names = np.array(["normal", "leak", "ice"])[np.minimum(kinds, classes - 1)]
    learner.fit(x[:TRAINED], names[:TRAINED])

    forest = to_onnx(learner, x)
    made = equal_everywhere(forest, x)

    assert forest.differ == 0
    assert forest.rows == ROWS
    assert np.array_equal(np.array(forest.classes)[made["class"][:, 0]], learner.predict(x))
    assert np.allclose(made["probabilities"], learner.predict_proba(x), atol=2e-6)


@pytest.mark.parametrize("learner", [
    ExtraTreesRegressor(max_depth=6, **SMALL),
    GradientBoostingRegressor(**SMALL),
    GradientBoostingRegressor(init="zero", **SMALL),
    HistGradientBoostingRegressor(max_iter=5, **HOW),
])  # fmt: skip
def test_values_are_the_learners_within_the_bound_told(learner):
    x, _ = readings()
    learner.fit(x[:TRAINED], x[:TRAINED, 0] * x[:TRAINED, 1])

    forest = to_onnx(learner, x)

    assert forest.error < 1e-4
    assert np.allclose(equal_everywhere(forest, x)["value"][:, 0], learner.predict(x), atol=1e-5)


def test_an_exponential_loss_and_a_tie_go_as_the_learner_has_them():
    x, kinds = readings()
    doubled = GradientBoostingClassifier(loss="exponential", **SMALL).fit(x, kinds > 0)
    level = GradientBoostingClassifier(n_estimators=1, max_depth=1, init="zero", **HOW)
    level.fit(np.float32([[0], [0], [1], [1]]), [0, 1, 0, 1])

    made = equal_everywhere(to_onnx(doubled, x), x)
    tied = equal_everywhere(to_onnx(level, one := np.float32([[0], [1]])), one)

    assert np.allclose(made["probabilities"], doubled.predict_proba(x), atol=2e-6)
    assert np.array_equal(tied["class"][:, 0], level.predict(one))


@pytest.mark.parametrize("how", [{}, {"max_features": 3}, {"contamination": 0.05}])
def test_an_isolation_forest_flags_what_the_learner_flags(how):
    x, _ = readings()
    learner = IsolationForest(n_estimators=20, **HOW, **how).fit(x[:TRAINED])

    forest = to_onnx(learner, x)
    made = equal_everywhere(forest, x)

    assert forest.differ == 0
    assert np.array_equal(made["flagged"][:, 0] == 1, learner.predict(x) == -1)
    assert np.allclose(made["score"][:, 0], -learner.score_samples(x), atol=1e-5)


def test_rows_too_near_to_tell_are_counted():
    x, _ = readings()
    learner = IsolationForest(n_estimators=20, **HOW).fit(x[:TRAINED])
    learner.offset_ = float(learner.score_samples(x[:1])[0])

    forest = to_onnx(learner, x)

    assert forest.near >= 1
    assert forest.differ <= forest.near


def test_what_is_not_the_learners_is_refused():
    class Contrary(RandomForestClassifier):
        def predict(self, given):
            return 1 - super().predict(given)

    x, kinds = readings()
    contrary = Contrary(**SMALL).fit(x, kinds > 0)
    poisson = HistGradientBoostingRegressor(loss="poisson", max_iter=2).fit(x, kinds)
    kinds_of = np.column_stack([kinds, x[:, 0]]).astype(np.float32)
    sorted_ = HistGradientBoostingClassifier(max_iter=2, categorical_features=[0])

    with pytest.raises(EvidenceError) as caught:
        to_onnx(contrary, x)
    assert caught.value.code == "E72"
    for learner in (
        LogisticRegression().fit(x, kinds),
        poisson,
        sorted_.fit(kinds_of, kinds),
        RandomForestClassifier(n_estimators=2).fit(x, np.column_stack([kinds, kinds])),
        GradientBoostingClassifier(n_estimators=2, init=DecisionTreeClassifier()).fit(x, kinds),
        DecisionTreeClassifier().fit(x, np.zeros(len(x))),
        IsolationForest(),
    ):
        with pytest.raises(HandshakeError) as refused:
            to_onnx(learner)
        assert refused.value.code == "E70"
    with pytest.raises(HandshakeError, match=r"E70.*float32.*600, 4"):
        to_onnx(DecisionTreeClassifier(max_depth=2).fit(x, kinds), x[:, :4])


def test_a_rigs_forest_flags_all_of_its_readings_alike_on_m0_and_m4(shared_data, tmp_path):
    table = pd.read_csv(shared_data / "skab/data/valve1/0.csv", sep=";")
    table = table.sort_values("datetime", kind="stable").iloc[:, 1:9].set_axis(SENSORS, axis=1)
    learner = fitted(table.iloc[:400])
    x = table.to_numpy(np.float32)

    forest = to_onnx(learner, x)
    program = program_of(forest, x)

    for core in ("cortex-m0", "cortex-m4"):
        folder = tmp_path / core
        folder.mkdir()
        image = build(CORES[core], generate(program, CORES[core].family).files, folder)
        made = values_of(program, emulate(image, rows_of(program, {"features": x})).outputs)
        assert np.array_equal(made["flagged"][:, 0] == 1, learner.predict(table) == -1)
    assert forest.differ == 0
    assert len(x) > 1000
