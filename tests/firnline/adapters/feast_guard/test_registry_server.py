"""Clients of Feast's registry server: they have neither the lock nor a guard, the server has."""

import importlib.util
import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from feast import FeatureService, FeatureStore

from tests.resources.feast_versions import (
    PROJECT,
    device,
    fields,
    opened,
    repository,
    service,
    source,
    view,
)
from tests.resources.guarded import Repository, at_home, published, refused

pytestmark = pytest.mark.filterwarnings("ignore")


@dataclass(frozen=True)
class Served:
    """A registry behind a server, and a client that knows its address alone."""

    repo: Repository
    client: FeatureStore


@pytest.fixture(scope="module", params=["file", "sqlite"])
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    if importlib.util.find_spec("grpc") is None:
        reason = "grpcio is not installed: Feast has no registry server without it"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    from feast.registry_server import start_server

    with at_home():
        repo = published(tmp_path_factory.mktemp(request.param), request.param)
        opened(repo.folder).apply([service(view()[["mean"]], name="reader")])
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        server = start_server(opened(repo.folder), port, wait_for_termination=False)
        address = {"registry_type": "remote", "path": f"127.0.0.1:{port}"}
        client = repository(tmp_path_factory.mktemp("client"), address, ours=True)
        yield Served(repo, opened(client))
        server.stop(None).wait()


def deleted(kind: str, name: str) -> Callable[[FeatureStore], Any]:
    return lambda client: getattr(client.registry, f"delete_{kind}")(name, PROJECT)


def applied(*objects: Any) -> Callable[[FeatureStore], Any]:
    return lambda client: client.apply(list(objects))


def by_the_registry(kind: str, wanted: Any) -> Callable[[FeatureStore], Any]:
    return lambda client: getattr(client.registry, f"apply_{kind}")(wanted, PROJECT)


WAYS: dict[str, tuple[str, Callable[[FeatureStore], Any]]] = {
    "source path": ("G1 G6", applied(view(source=source(path="other.parquet")))),
    "source timestamp": ("G6", by_the_registry("data_source", source(timestamp_field="start"))),
    "ttl": ("G1", applied(view(ttl=timedelta(hours=2)))),
    "ttl, by the registry": ("G1", by_the_registry("feature_view", view(ttl=timedelta(hours=2)))),
    "order of features": ("G1", applied(view(schema=fields()[::-1]))),
    "order of features, by the registry": (
        "G1",
        by_the_registry("feature_view", view(schema=fields()[::-1])),
    ),
    "transformation": ("G1", applied(view(tags={"digest": "0" * 64}))),
    "pin": ("G1 G7", applied(view(version="v7"))),
    "join key": ("G6", by_the_registry("entity", device(join_keys=["id"]))),
    "service": ("G4", applied(service(view()[["slope"]], name="reader"))),
    "service, emptied": (
        "G4",
        by_the_registry("feature_service", FeatureService(name="reader", features=[])),
    ),
    "view deleted": ("G2", deleted("feature_view", "window_v1")),
    "service deleted": ("G5", deleted("feature_service", "reader")),
    "source deleted": ("G6", deleted("data_source", "window_v1")),
    "entity deleted": ("G6", deleted("entity", "device")),
    "project deleted": ("G2 G5", lambda client: client.registry.delete_project(PROJECT)),
    "store torn down": ("G2 G5", lambda client: client.teardown()),
}


@pytest.mark.parametrize("way", WAYS)
def test_the_server_refuses(served: Served, way: str) -> None:
    codes, action = WAYS[way]
    assert "published" in refused(served.repo, codes, lambda: action(served.client))


def test_the_server_takes_what_changes_no_value(served: Served) -> None:
    before = served.repo.published()
    served.client.apply([view(description="By the server."), device(description="A device.")])
    assert opened(served.repo.folder).get_feature_view("window_v1").description == "By the server."
    served.client.apply([view("draft@v1")])
    assert served.client.get_feature_view("draft_v1") is not None
    served.client.registry.delete_feature_view("draft_v1", PROJECT)
    assert served.repo.published() == before


def test_a_client_on_the_files_and_one_of_the_server_see_each_other(
    served: Served, tmp_path: Path
) -> None:
    opened(served.repo.folder).apply([view("beside@v1")])
    served.client.apply([view("served@v1")])
    names = {each.name for each in opened(served.repo.folder).list_feature_views()}
    assert names >= {"beside_v1", "served_v1", "window_v1"}
