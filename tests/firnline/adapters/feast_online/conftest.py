"""The kinds of online store that every test of them runs on."""

import os
import shutil
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.firnline.adapters.feast_online import repository
from tests.resources import redis_server

Fresh = Callable[[], dict[str, Any]]


@pytest.fixture(scope="session")
def redis_socket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A Redis server of these tests' own, on a socket."""
    if shutil.which(redis_server.BINARY) is None:
        if os.environ.get("CI") == "true":
            pytest.fail("CI has no redis-server; setup.sh installs it")
        pytest.skip("no redis-server on this machine; setup.sh installs it")
    with redis_server.serving(tmp_path_factory.mktemp("redis")) as socket:
        yield socket


@pytest.fixture(scope="session")
def databases() -> Iterator[int]:
    """Numbers of Redis databases that no test has used; the first is for rows without Feast."""
    return iter(range(1, redis_server.DATABASES))


@pytest.fixture(scope="module", params=["sqlite", "redis"])
def fresh(request: pytest.FixtureRequest, databases: Iterator[int]) -> Fresh:
    """Makes Feast's configuration of an empty online store, in SQLite and in Redis."""
    if request.param == "sqlite":
        files = count()
        return lambda: repository.OURS | {"path": f"online_{next(files)}.db"}
    socket = request.getfixturevalue("redis_socket")
    return lambda: repository.OURS_IN_REDIS | {"url": f"unix://{socket}?db={next(databases)}"}
