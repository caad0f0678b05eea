import sqlite3
from dataclasses import replace

import numpy as np
import pytest

from firnline.adapters.mlflow_registry import Dataset, MlflowRegistry, ModelRecord, TrainingRun
from models.float_onnx import Graph, proto

DVC = "0" * 32 + ".dir"


def model(factor):
    graph = Graph("test")
    weights = np.full((2, 3), factor, np.float32)
    graph.output("y", graph.layer(graph.input("features", 3), weights, np.zeros(2, np.float32)), 2)
    return graph.bytes()


def record(name, digest, factor=1):
    tags = {"features": "view@v1#abcdef"}
    return ModelRecord(name, digest * 64, proto(model(factor)), [("features", 3)], [("y", 2)], tags)


RUN = TrainingRun(
    ensemble=record("fleet", "a"),
    stages=[record("fleet_encoder", "b"), record("fleet_classifier", "c")],
    dataset=Dataset("fleet", "data/fleet", DVC, "f" * 64),
    params={"split.seed": 42},
    metrics={"test.auc": 0.9, "later.auc": None},
)


@pytest.fixture(scope="module")
def state(tmp_path_factory):
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="module")
def first(state):
    return MlflowRegistry(state).register(RUN)


def test_a_run_has_one_model_a_stage_and_one_for_the_ensemble(state, first):
    assert (first.name, first.version, first.reused) == ("fleet", 1, False)
    assert first.stages == {"fleet_encoder": 1, "fleet_classifier": 1}
    client = MlflowRegistry(state)._client()
    run = client.get_run(first.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params == {"split.seed": "42"}
    assert run.data.metrics == {"test.auc": 0.9}
    assert run.data.tags["snapshot.sha256"] == "f" * 64
    (given,) = run.inputs.dataset_inputs
    assert given.dataset.digest == DVC


def test_registering_it_again_gives_what_is_there(state, first):
    again = MlflowRegistry(state).register(RUN)
    assert again == replace(first, reused=True)
    with sqlite3.connect(state / "mlflow" / "mlflow.db") as database:
        counts = [
            database.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for table in ("runs", "model_versions", "logged_models")
        ]
    assert counts == [1, 3, 3]


def test_a_stage_that_did_not_change_keeps_its_version(state, first):
    registry = MlflowRegistry(state)
    run = replace(
        RUN,
        ensemble=record("fleet", "d", factor=2),
        stages=[record("fleet_encoder", "b"), record("fleet_classifier", "e", factor=2)],
    )
    second = registry.register(run)
    assert second.version == 2
    assert second.stages == {"fleet_encoder": 1, "fleet_classifier": 2}
    assert registry.candidate("fleet").version == 2
    assert registry.register(RUN).version == 1
    assert registry.candidate("fleet").version == 1


def test_live_is_what_was_promoted_to_the_byte(state, first):
    registry = MlflowRegistry(state)
    assert registry.live("fleet_encoder") is None
    assert registry.live("nobody") is None
    registry.promote("fleet", 1)
    live = registry.live("fleet")
    assert (live.version, live.digest, live.run_id) == (1, "a" * 64, first.run_id)
    assert live.model == model(1)
    assert live.tags["features"] == "view@v1#abcdef"


def test_a_killed_registration_is_taken_up_where_it_stopped(tmp_path):
    registry = MlflowRegistry(tmp_path)
    run_id = registry._run(RUN)
    registry._version(RUN.stages[0], run_id)
    made = registry.register(RUN)
    assert (made.version, made.stages) == (1, {"fleet_encoder": 1, "fleet_classifier": 1})
    assert registry.register(RUN).reused


def test_nothing_is_written_outside_the_state_folder(tmp_path, monkeypatch, state, first):
    monkeypatch.chdir(tmp_path)
    registry = MlflowRegistry(state)
    registry.register(RUN)
    registry.candidate("fleet")
    assert not list(tmp_path.iterdir())
