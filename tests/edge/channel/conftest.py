import os
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from edge.channel.repository import Repository
from tests.edge.channel import stands


@pytest.fixture(scope="session")
def _memory():
    """Where channels lie: in memory, where a sync costs nothing, if there is such a place."""
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108
    with TemporaryDirectory(dir=place) as folder:
        yield Path(folder)


@pytest.fixture
def tmp_path(_memory):
    with TemporaryDirectory(dir=_memory) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def _keys():
    found = stands.make_keys()
    os.environ.update(found)
    yield
    for name in found:
        os.environ.pop(name, None)


@pytest.fixture(scope="session")
def _made(_keys, _memory):
    folder = _memory / "whole" / "channel"
    stands.make_channel(folder)
    return folder


@pytest.fixture(scope="session")
def _few_bins(_keys, _memory):
    folder = _memory / "few" / "channel"
    stands.make_channel(folder, bits=1)
    return folder


@pytest.fixture(scope="session")
def releases(_memory):
    return stands.Releases(_memory / "releases")


@pytest.fixture
def repo(_made, tmp_path):
    """A channel that assigns nothing yet."""
    shutil.copytree(_made, tmp_path / "channel")
    return Repository(tmp_path / "channel")


@pytest.fixture
def small(_few_bins, tmp_path):
    """The same with two bins a kind."""
    shutil.copytree(_few_bins, tmp_path / "channel")
    return Repository(tmp_path / "channel")


@pytest.fixture
def site(repo):
    """Where the channel is served."""
    with stands.serving(repo.public) as url:
        yield url


@pytest.fixture
def device(repo, site, tmp_path):
    """A device that was given the channel's first root."""
    root = (repo.public / "metadata" / "1.root.json").read_bytes()
    return stands.Device(site, root, tmp_path / "trust")
