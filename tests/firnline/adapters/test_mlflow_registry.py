import json
import sqlite3
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from firnline.adapters.mlflow_registry import (
    HANDSHAKE,
    Dataset,
    Figures,
    MlflowRegistry,
    ModelRecord,
    TrainingRun,
)
from firnline.contracts.handshake import Columns, Facts, StageFacts
from firnline.errors import HandshakeError
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


READS = {"view@v1": "d" * 64}
SCORE = Columns("float32", 2)
FACTS = Facts(
    "fleet",
    ("encoder", "classifier"),
    (
        StageFacts("encoder", READS, outputs={"y": SCORE}, digest="b" * 64),
        StageFacts(
            "classifier",
            READS,
            upstream={"encoder.y": SCORE},
            outputs={"y": SCORE},
            digest="c" * 64,
            learned_from={"encoder": "b" * 64},
        ),
    ),
    READS,
    ("features",),
)
RUN = TrainingRun(
    ensemble=record("fleet", "a"),
    stages=[record("fleet_encoder", "b"), record("fleet_classifier", "c")],
    dataset=Dataset("fleet", "data/fleet", DVC, "f" * 64),
    facts=FACTS,
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


def test_the_figures_of_a_version_are_its_runs(state, first):
    found = MlflowRegistry(state).figures(first.name, first.version)
    assert found == Figures({"split.seed": "42"}, {"test.auc": 0.9})


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


def test_a_mixed_pair_is_not_registered(state, first):
    encoder, classifier = FACTS.stages
    mixed = replace(FACTS, stages=(replace(encoder, digest="e" * 64), classifier))
    registry = MlflowRegistry(state)
    with pytest.raises(HandshakeError) as caught:
        registry.register(replace(RUN, ensemble=record("fleet", "9"), facts=mixed))
    assert caught.value.code == "H5"
    assert registry.candidate("fleet").version == first.version


def test_a_model_without_a_sound_record_is_not_loaded(state, first):
    registry = MlflowRegistry(state)
    client = registry._client()
    kept = client.get_model_version("fleet", str(first.version)).tags[HANDSHAKE]
    for tag, code in (
        ("{", "H0"),
        (kept.replace("b" * 64, "e" * 64, 1), "H5"),
        (kept.replace("d" * 64, "e" * 64, 1), "H1"),
    ):
        client.set_model_version_tag("fleet", str(first.version), HANDSHAKE, tag)
        with pytest.raises(HandshakeError) as caught:
            registry.candidate("fleet")
        assert caught.value.code == code
    client.set_model_version_tag("fleet", str(first.version), HANDSHAKE, kept)
    assert registry.candidate("fleet").digest == "a" * 64


def test_what_targets_proved_is_kept_with_the_version_and_its_run(state, first):
    registry = MlflowRegistry(state)
    proofs = {
        "mcu-cortex-m4": {
            "artifact_sha256": "1" * 64,
            "proof": {"verdict": "accept"},
            "vectors": 8,
        },
        "cpu-arm64": {"artifact_sha256": "2" * 64, "proof": {"verdict": "not run"}, "vectors": 8},
    }
    for _ in range(2):  # a step that was killed logs them again
        registry.log_proofs("fleet", 1, proofs)
    client = registry._client()
    tags = client.get_model_version("fleet", "1").tags
    assert tags["firnline.proof.mcu-cortex-m4"] == f"accept {'1' * 64}"
    assert tags["firnline.proof.cpu-arm64"] == f"not run {'2' * 64}"
    kept = client.download_artifacts(first.run_id, "proofs/mcu-cortex-m4.json")
    assert json.loads(Path(kept).read_text()) == proofs["mcu-cortex-m4"]
    assert len(client.list_artifacts(first.run_id, "proofs")) == 2
