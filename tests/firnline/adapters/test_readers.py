"""Who reads a version, from a registry that Feast wrote and a database that MLflow wrote."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from feature_repo.refrigeration.transforms import VIEWS
from firnline.adapters.mlflow_registry import HANDSHAKE, MlflowRegistry
from firnline.adapters.readers import Readers, feast_services, readers
from firnline.contracts.facts import document
from firnline.contracts.handshake import Facts, StageFacts
from firnline.contracts.lock import Line, line_of
from firnline.contracts.outputs import StageOutputs
from firnline.digest import canonical_json

WINDOW, HOUR = (line_of(view) for view in VIEWS)
ENCODER = StageOutputs(
    ensemble="fleet",
    stage="encoder",
    version=1,
    entity="device",
    key="device_id",
    fields=("score",),
    ttl_seconds=900,
    model="e" * 64,
    reads={WINDOW.reference: WINDOW.digest},
)
SECOND = replace(
    ENCODER, stage="second", model="f" * 64, reads={ENCODER.reference: ENCODER.digest()}
)
OTHER = replace(ENCODER, stage="other", model="0" * 64, reads={})
OUTPUTS = tuple(line_of(outputs) for outputs in (ENCODER, SECOND, OTHER))
FACTS = Facts(
    "fleet",
    ("encoder", "classifier"),
    (
        StageFacts("encoder", {WINDOW.reference: WINDOW.digest}, digest="e" * 64),
        StageFacts("classifier", {}, digest="c" * 64, learned_from={"encoder": "e" * 64}),
    ),
    {},
)


@contextmanager
def quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def apply(state: Path) -> None:
    """Two services in a registry of Feast's own."""
    with quiet():
        from feast import FeatureService
        from feast.infra.registry.sql import SqlRegistry, SqlRegistryConfig

        from firnline.adapters.feast_objects import feature_view

        (state / "feast").mkdir()
        path = f"sqlite:///{state / 'feast' / 'registry.db'}"
        registry = SqlRegistry(SqlRegistryConfig(registry_type="sql", path=path), "fleet", None)
        window, hour, encoder = (feature_view(line) for line in (WINDOW, HOUR, OUTPUTS[0]))
        wanted = {"fleet_encoder": [window, hour], "fleet_classifier": [encoder]}
        for name, views in wanted.items():
            registry.apply_feature_service(FeatureService(name=name, features=views), "fleet")


def register(state: Path) -> None:
    """Models with the tags that `MlflowRegistry.register` gives them."""
    client = MlflowRegistry(state)._client()
    for name, tags in {
        "fleet-encoder": {"features": f"{WINDOW.label}, {HOUR.label}"},
        "fleet": {HANDSHAKE: canonical_json(document(FACTS))},
        "stranger": {"features": "all", HANDSHAKE: "no facts"},
    }.items():
        client.create_registered_model(name)
        for _ in range(2 if name == "fleet" else 1):
            client.create_model_version(name, source=state.as_uri(), tags=tags)
    client.set_registered_model_alias("fleet", "live", "1")


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("state")
    apply(folder)
    register(folder)
    return folder


def test_services_and_the_views_they_read(state: Path) -> None:
    assert feast_services(state / "feast" / "registry.db") == {
        "fleet_classifier": {"fleet_encoder_v1"},
        "fleet_encoder": {"device_window_v1", "device_hour_v1"},
    }


def test_a_version_is_read_itself_and_through_a_stage(state: Path) -> None:
    assert readers(state, WINDOW, OUTPUTS) == Readers(
        outputs=(OUTPUTS[0].label, OUTPUTS[1].label),
        services=("fleet_classifier", "fleet_encoder"),
        models=("fleet version 1 (live)", "fleet version 2", "fleet-encoder version 1"),
    )
    assert readers(state, HOUR, OUTPUTS) == Readers(
        services=("fleet_encoder",), models=("fleet-encoder version 1",)
    )
    assert readers(state, OUTPUTS[0], OUTPUTS) == Readers(
        outputs=(OUTPUTS[1].label,),
        services=("fleet_classifier",),
        models=("fleet version 1 (live)", "fleet version 2"),
    )


def test_another_digest_is_another_version(state: Path) -> None:
    stranger = Line(WINDOW.reference, "0" * 64, WINDOW.record)

    assert readers(state, stranger, ()).models == ()


def test_nothing_is_made_where_there_is_nothing(tmp_path: Path) -> None:
    assert readers(tmp_path, WINDOW, ()) == Readers()
    (tmp_path / "mlflow").mkdir()
    (tmp_path / "mlflow" / "mlflow.db").touch()
    assert readers(tmp_path, WINDOW, ()) == Readers()
    assert [path.name for path in tmp_path.rglob("*")] == ["mlflow", "mlflow.db"]
