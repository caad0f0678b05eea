import os
import shutil

import pytest

from edge.channel.repository import Repository
from tests.edge.channel import stands


@pytest.fixture(scope="session")
def _keys():
    found = stands.make_keys()
    os.environ.update(found)
    yield
    for name in found:
        os.environ.pop(name, None)


@pytest.fixture(scope="session")
def _made(_keys, tmp_path_factory):
    folder = tmp_path_factory.mktemp("channel") / "channel"
    stands.make_channel(folder)
    return folder


@pytest.fixture(scope="session")
def _few_bins(_keys, tmp_path_factory):
    folder = tmp_path_factory.mktemp("few") / "channel"
    stands.make_channel(folder, bits=1)
    return folder


@pytest.fixture(scope="session")
def releases(tmp_path_factory):
    return stands.Releases(tmp_path_factory.mktemp("releases"))


@pytest.fixture
def repo(_made, tmp_path):
    """A channel that assigns nothing yet."""
    shutil.copytree(_made, tmp_path / "channel")
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
