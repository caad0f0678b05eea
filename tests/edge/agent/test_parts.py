"""Parts: fetched once, whole or not at all, and on from where a download broke off."""

import errno
import hashlib
from collections.abc import Iterable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from edge.agent.config import Limits
from edge.agent.connection import CHUNK
from edge.agent.fetch import Fetcher
from edge.agent.parts import PartStore
from edge.disk import RealDisk
from firnline.contracts.places import part_path
from firnline.errors import DeliveryError
from tests.edge.agent.channels import Site, serve

CONTENT = bytes(range(251)) * 1000
DIGEST = hashlib.sha256(CONTENT).hexdigest()
PATH = f"parts/{part_path(DIGEST)}"


class SmallDisk(RealDisk):
    """A disk that is full after so many bytes."""

    def __init__(self, room: int, code: int = errno.ENOSPC) -> None:
        self.room, self.code = room, code

    def append(self, path: Path, content: bytes, *, sync: bool = True) -> None:
        self.room -= len(content)
        if self.room < 0:
            raise OSError(self.code, "as told")
        super().append(path, content, sync=sync)

    def write(self, path: Path, content: bytes | Iterable[bytes], mode: int = 0o644) -> None:
        raise AssertionError("a part is streamed")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    file = tmp_path / "public" / PATH
    file.parent.mkdir(parents=True)
    file.write_bytes(CONTENT)
    with serve(tmp_path / "public") as site:
        yield site


@pytest.fixture
def fetcher(site: Site) -> Iterator[Fetcher]:
    with Fetcher(site.url, Limits(timeout_seconds=1)) as fetcher:
        yield fetcher


@pytest.fixture
def store(tmp_path: Path) -> PartStore:
    return PartStore(tmp_path / "store", RealDisk())


def test_fetched_once(store: PartStore, fetcher: Fetcher, site: Site) -> None:
    assert not store.has(DIGEST)
    assert store.fetch(DIGEST, len(CONTENT), fetcher).read_bytes() == CONTENT
    assert store.has(DIGEST)
    store.fetch(DIGEST, len(CONTENT), fetcher)
    assert len(site.log) == 1 and _partials(store) == []


def test_nothing_has_a_digest_too(store: PartStore, fetcher: Fetcher, site: Site) -> None:
    empty = hashlib.sha256(b"").hexdigest()
    assert store.fetch(empty, 0, fetcher).read_bytes() == b""
    assert site.log == []


@pytest.mark.parametrize("there", [1, CHUNK, CHUNK + 1, len(CONTENT) - 1])
def test_goes_on_where_it_broke_off(
    store: PartStore, fetcher: Fetcher, site: Site, there: int
) -> None:
    _partial(store, CONTENT[:there])
    assert store.fetch(DIGEST, len(CONTENT), fetcher).read_bytes() == CONTENT
    assert site.log == [(PATH, 206, f"bytes={there}-{len(CONTENT) - 1}")]


def test_what_broke_off_stays_for_the_next_time(
    store: PartStore, fetcher: Fetcher, site: Site
) -> None:
    site.faults[PATH] = _cut
    with pytest.raises(DeliveryError) as error:
        store.fetch(DIGEST, len(CONTENT), fetcher)
    assert error.value.code == "U17" and not store.has(DIGEST)
    site.faults.clear()
    assert store.fetch(DIGEST, len(CONTENT), fetcher).read_bytes() == CONTENT
    assert site.log[-1] == (PATH, 206, f"bytes={CHUNK * 2}-{len(CONTENT) - 1}")


def test_a_complete_one_that_lacks_only_its_name(
    store: PartStore, fetcher: Fetcher, site: Site
) -> None:
    _partial(store, CONTENT)
    assert store.fetch(DIGEST, len(CONTENT), fetcher).read_bytes() == CONTENT
    assert site.log == []


@pytest.mark.parametrize("there", [bytes(CHUNK), bytes(len(CONTENT)), bytes(len(CONTENT) + 1)])
def test_what_a_power_cut_spoiled_is_fetched_anew(
    store: PartStore, fetcher: Fetcher, there: bytes
) -> None:
    _partial(store, there)
    assert store.fetch(DIGEST, len(CONTENT), fetcher).read_bytes() == CONTENT
    assert _partials(store) == []


def test_wrong_bytes_are_thrown_away(store: PartStore, fetcher: Fetcher, site: Site) -> None:
    (site.folder / PATH).write_bytes(CONTENT[:-1] + b"!")
    with pytest.raises(DeliveryError) as error:
        store.fetch(DIGEST, len(CONTENT), fetcher)
    assert error.value.code == "U1" and error.value.found.startswith("arbitrary software")
    assert not store.has(DIGEST) and _partials(store) == []


def test_too_few_bytes_are_not_the_part(store: PartStore, fetcher: Fetcher, site: Site) -> None:
    (site.folder / PATH).write_bytes(CONTENT[:CHUNK])
    for _ in range(2):
        with pytest.raises(DeliveryError) as error:
            store.fetch(DIGEST, len(CONTENT), fetcher)
        assert error.value.code == "U1"


def test_too_many_bytes(store: PartStore, fetcher: Fetcher, site: Site) -> None:
    (site.folder / PATH).write_bytes(CONTENT + b"!")
    with pytest.raises(DeliveryError) as error:
        store.fetch(DIGEST, len(CONTENT), fetcher)
    assert error.value.code == "U9"


def test_a_name_that_is_no_digest(store: PartStore, fetcher: Fetcher) -> None:
    with pytest.raises(DeliveryError) as error:
        store.fetch("../../etc/passwd", 1, fetcher)
    assert error.value.code == "U11"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_runs_full_gets_its_bytes_back(
    tmp_path: Path, fetcher: Fetcher, code: int
) -> None:
    store = PartStore(tmp_path / "store", SmallDisk(CHUNK + 1, code))
    with pytest.raises(DeliveryError) as error:
        store.fetch(DIGEST, len(CONTENT), fetcher)
    assert error.value.code == "U20" and _partials(store) == []


def test_a_disk_that_cannot_be_written(tmp_path: Path, fetcher: Fetcher) -> None:
    store = PartStore(tmp_path / "store", SmallDisk(CHUNK + 1, errno.EIO))
    with pytest.raises(DeliveryError) as error:
        store.fetch(DIGEST, len(CONTENT), fetcher)
    assert error.value.code == "U21"


def test_room_is_looked_for_before(tmp_path: Path, fetcher: Fetcher, site: Site) -> None:
    store = PartStore(tmp_path / "store", RealDisk(), free_bytes=1 << 60)
    with pytest.raises(DeliveryError) as error:
        store.fetch(DIGEST, len(CONTENT), fetcher)
    assert error.value.code == "U20" and site.log == []


def test_one_that_rotted_is_no_longer_there(store: PartStore, fetcher: Fetcher) -> None:
    path = store.fetch(DIGEST, len(CONTENT), fetcher)
    path.write_bytes(CONTENT[:-1] + b"!")
    assert not store.has(DIGEST) and not path.exists()


def test_sweep_keeps_what_is_named(store: PartStore, fetcher: Fetcher) -> None:
    path = store.fetch(DIGEST, len(CONTENT), fetcher)
    other = _partial(store, b"12345", "0" * 64)
    assert store.sweep({DIGEST}) == 5
    assert path.exists() and not other.exists()
    assert store.sweep(()) == len(CONTENT) and not path.exists()
    assert PartStore(path / "absent", RealDisk()).sweep(()) == 0


def _cut(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response_only(200)
    handler.send_header("Content-Length", str(len(CONTENT)))
    handler.end_headers()
    handler.wfile.write(CONTENT[: CHUNK * 2])


def _partial(store: PartStore, content: bytes, digest: str = DIGEST) -> Path:
    path = store.path(digest).with_name(f"{digest}.partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def _partials(store: PartStore) -> list[Path]:
    return list(store.path(DIGEST).parent.parent.rglob("*.partial"))
