"""A whole poll of a device, while one document of its channel is the attacker's."""

from contextlib import suppress
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import DownloadHTTPError
from tuf.api.metadata import Metadata, Snapshot, Timestamp
from tuf.api.serialization.json import JSONSerializer

from edge.agent.clock import TrustedClock
from edge.agent.config import Config
from edge.agent.fetch import Fetcher
from edge.agent.trust import TRUST, poll
from edge.agent.verified import Verified
from edge.disk import RealDisk
from firnline.errors import FirnlineError
from tests.edge.agent import bundles
from tests.edge.agent.channels import Channel
from tests.fuzz.inputs import HEADER, SIGNED, Harness

_CACHED, _EMPTY = 2, 4
_COMPACT = JSONSerializer(compact=True)


def metadata(folder: Path) -> Harness:
    """Bytes as the metadata of any role, off the wire or out of the cache: a whole poll."""
    world = _World(folder)
    seeds = [
        bytes([place, how]) + content
        for place, content in enumerate(world.attacked.values())
        for how in (0, SIGNED, _CACHED | SIGNED, _EMPTY | SIGNED)
    ]
    return Harness(world.poll, seeds)


class _World:
    """A channel and a device, without a network between them."""

    def __init__(self, folder: Path) -> None:
        made = bundles.make(folder / "bundle")
        numbers = count()
        channel = Channel(
            folder / "public", datetime(2026, 1, 1, tzinfo=UTC), lambda: _key(next(numbers))
        )
        self._bare(channel, made)
        self._keys = channel.keys
        public = channel.public
        self._served = {
            str(path.relative_to(public)): path.read_bytes()
            for path in public.rglob("*")
            if path.is_file() and "parts" not in path.parts
        }
        root = folder / "root.json"
        root.write_bytes(channel.root_bytes)
        self._config = Config(
            url="http://127.0.0.1:9", ensemble=made.ensemble, track="stable", target=made.target,
            root=root, state=folder / "state", device="unit-1",
        )  # fmt: skip
        self._trust = self._config.state / TRUST
        self._clock = TrustedClock(channel.now, lambda: channel.now)
        self._fetcher = _Given(self._config.url, self._config.limits)
        self._fetcher.files = dict(self._served)
        poll(self._config, RealDisk(), self._fetcher, self._clock)
        self._cache = {path: path.read_bytes() for path in self._trust.rglob("*") if path.is_file()}
        roles = (
            "root",
            "timestamp",
            "snapshot",
            "targets",
            "stable",
            "cpu",
            channel.bin(made.path),
        )
        # A root and a timestamp are looked at only when they are newer.
        for role in ("root", "timestamp"):
            channel.signed[role].version += 1
        self.attacked = {role: channel.sign(role) for role in roles}
        self._url = {role: f"metadata/{channel.signed[role].version}.{role}.json" for role in roles}
        self._url["timestamp"] = "metadata/timestamp.json"

    @staticmethod
    def _bare(channel: Channel, made: bundles.Made) -> None:
        """A channel whose snapshot names versions alone, so that other bytes are parsed at all."""
        channel.publish(made)
        snapshot, timestamp = channel.signed["snapshot"], channel.signed["timestamp"]
        assert isinstance(snapshot, Snapshot) and isinstance(timestamp, Timestamp)
        for meta in (*snapshot.meta.values(), timestamp.snapshot_meta):
            meta.hashes = meta.length = None
        channel.write("snapshot")
        channel.write("timestamp")

    def poll(self, data: bytes) -> None:
        """A poll while one document is the attacker's."""
        choice, how = data[:HEADER].ljust(HEADER, b"\0")
        role = list(self.attacked)[choice % len(self.attacked)]
        content = data[HEADER:]
        if how & SIGNED:
            content = self._signed(role, content)
        self._lay(role, content if how & _CACHED else None, bool(how & _EMPTY))
        self._fetcher.files = {**self._served, self._url[role]: content}
        if role == "targets":
            with suppress(FirnlineError):
                root = self._config.root.read_bytes()
                Verified(self._trust, root, RealDisk(), self._fetcher, self._clock).keys("mcu")
        poll(self._config, RealDisk(), self._fetcher, self._clock)

    def _signed(self, role: str, content: bytes) -> bytes:
        """The document signed by the keys of its role; as it is where nothing can be signed."""
        try:
            found: Metadata[Any] = Metadata.from_bytes(content)
            found.signatures.clear()
            for signer in self._keys[role.rpartition("-")[0] or role]:
                found.sign(signer, append=True)
            return found.to_bytes(_COMPACT)
        except Exception:
            return content

    def _lay(self, role: str, cached: bytes | None, empty: bool) -> None:
        """The device's cache as before the attack, without what would hide it."""
        hidden = self._trust / f"{role}.json"
        for path in self._trust.rglob("*"):
            if not path.is_dir() and (empty or path not in self._cache or path == hidden):
                path.unlink()
        if not empty:
            for path, content in self._cache.items():
                if path != hidden:
                    path.write_bytes(content)
        if cached is not None:
            place = self._trust / "root_history" / "2.root.json" if role == "root" else hidden
            place.write_bytes(cached)


def _key(number: int) -> CryptoSigner:
    """The same key in every run, so that an input means the same."""
    return CryptoSigner(Ed25519PrivateKey.from_private_bytes(number.to_bytes(32, "big")))


class _Given(Fetcher):
    """The agent's fetcher, with files at hand in place of a server."""

    files: dict[str, bytes]

    def download_bytes(self, url: str, max_length: int) -> bytes:
        content = self.files.get(url)
        if content is None:
            raise DownloadHTTPError(f"404 for {url}", 404)
        self.last = (url, content[:max_length])
        return content[:max_length]
