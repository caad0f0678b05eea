from types import SimpleNamespace

import numpy as np
import pytest

from firnline.evidence.scores import DecisionRule
from models.float_onnx import Graph, StageGraph, merge

COLUMNS = ("v__a", "v__b", "v__c", "v__d")


def net(seed=0):
    """A residual stage and a scoring stage on it, with every part that stays in float."""
    random = np.random.default_rng(seed)
    basis = np.linalg.qr(random.normal(size=(4, 2)))[0]
    graph = Graph("residual")
    filled = graph.impute(graph.input("features", 4), np.zeros(4, np.float32))
    within = graph.clip(filled, -4.0, 4.0)
    weights = (basis @ basis.T).astype(np.float32)
    left = graph.node("Sub", within, graph.layer(within, weights, np.zeros(4, np.float32)))
    graph.output("left", left, 4)
    graph.output("size", graph.sum_squares(left), 1)
    first = StageGraph("residual", graph.bytes(), COLUMNS, (("left", 4), ("size", 1)))
    graph = Graph("score")
    left = graph.clip(graph.input("residual.left", 4), -4.0, 4.0)
    spread = np.concatenate([np.eye(4), -np.eye(4)]).astype(np.float32)
    hidden = graph.relu(graph.layer(left, spread, np.zeros(8, np.float32)))
    last = np.concatenate([-np.ones((1, 8)), np.ones((1, 8))]).astype(np.float32)
    chance = graph.softmax(graph.layer(hidden, last, np.array([4, -4], np.float32)))
    graph.output("chance", chance, 2)
    second = StageGraph("score", graph.bytes(), COLUMNS, (("chance", 2),))
    return merge([first, second])


@pytest.fixture(scope="session")
def float_model():
    return net()


@pytest.fixture(scope="session")
def rows():
    """Training rows: 3 labels, 20 entities, a missing value here and there."""
    random = np.random.default_rng(1)
    features = random.normal(size=(2000, 4)).astype(np.float32)
    labels = np.where(np.arange(2000) % 50 == 0, "leak", "normal")
    labels[np.arange(2000) % 400 == 1] = "drift"
    features[labels != "normal"] += np.float32([3, -3, 3, 3])
    features[random.random(features.shape) < 0.02] = np.nan
    return SimpleNamespace(
        features=features,
        labels=labels,
        entities=np.array([f"e{place % 20}" for place in range(2000)]),
        times=np.arange(2000, dtype=np.int64),
    )


@pytest.fixture
def rule():
    return DecisionRule("score.chance", ("normal", "leak"), 0.5)
