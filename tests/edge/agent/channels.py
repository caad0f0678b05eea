"""A small real channel, made by hand with python-tuf, and a server that can be told to misbehave.

`Channel(folder)` has the roles of a true one. Every key is at hand and every role can be changed
and signed by anyone, so that a test can be the attacker. `serve` gives its files on loopback.
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Protocol

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Signed,
    Snapshot,
    SuccinctRoles,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization.json import JSONSerializer

from edge.agent.config import Config, Limits
from firnline.contracts.places import KINDS, TRACKS, assignment_path
from firnline.rollout.assignment import Assignment, Pin, assign, render

_COMPACT = JSONSerializer(compact=True)
BITS = 2


class Bundle(Protocol):
    """A device bundle, as `bundles.make` gives it."""

    ensemble: str
    target: str
    release: str

    @property
    def manifest(self) -> bytes: ...
    @property
    def path(self) -> str: ...
    @property
    def parts(self) -> Mapping[str, bytes]: ...


class Channel:
    """A channel in a folder; what a method changes is visible once `commit` has run.

    Attributes:
        public: The folder that is served.
        keys: Role -> its signers.
        signed: Role -> what it signs.
        signers: Role -> who signs in their stead, for an attack.
        now: When timestamps say they were issued.
    """

    def __init__(
        self,
        folder: Path,
        now: datetime | None = None,
        new_key: Callable[[], CryptoSigner] = CryptoSigner.generate_ed25519,
    ) -> None:
        self.public = folder
        self.now = (now or datetime.now(UTC)).replace(microsecond=0)
        self.until = self.now + timedelta(days=30)
        self.keys = {role: [new_key() for _ in range(3)] for role in ("root", "targets")}
        for role in ("snapshot", "timestamp", *TRACKS, *KINDS):
            self.keys[role] = [new_key()]
        self.signed: dict[str, Signed] = {}
        self.signers: dict[str, Sequence[CryptoSigner]] = {}
        self.assignments: dict[str, Assignment] = {}
        self._build()
        self.root_bytes = self.write("root")
        self.commit(*[role for role in self.signed if role not in {"root", *_ONLINE}], first=True)

    def root(self) -> Root:
        """What root signs."""
        found = self.signed["root"]
        assert isinstance(found, Root)
        return found

    def targets(self, role: str) -> Targets:
        """What a targets role signs."""
        found = self.signed[role]
        assert isinstance(found, Targets)
        return found

    def release(self, made: Bundle) -> Pin:
        """Lay down a release's parts and manifest, and have the role of its kind sign it."""
        for path, content in made.parts.items():
            self.lay(f"parts/{path}", content)
        self.target(self.bin(made.path), made.path, made.manifest)
        return Pin(sha256(made.manifest).hexdigest(), len(made.manifest))

    def publish(
        self, made: Bundle, track: str = "stable", share: float = 1.0, **changes: Any
    ) -> Assignment:
        """Release a bundle, assign it, and commit.

        Args:
            made: The bundle.
            track: The track it is assigned on.
            share: Of the fleet.
            changes: Fields of the assignment that are replaced.
        """
        pin = self.release(made)
        before = self.assignments.get(f"{track}/{made.ensemble}")
        made_of = assign(before, made.ensemble, track, made.release, {made.target: pin}, share)
        found = replace(made_of, **changes)
        self.assignments[f"{track}/{made.ensemble}"] = found
        self.target(track, assignment_path(made.ensemble, track), render(found))
        self.commit(track, self.bin(made.path))
        return found

    def target(self, role: str, path: str, content: bytes) -> None:
        """Lay down a target and have a role sign it."""
        made = TargetFile.from_data(path, content, ["sha256"])
        self.targets(role).targets[path] = made
        folder, _, name = path.rpartition("/")
        self.lay(f"targets/{folder}/{made.hashes['sha256']}.{name}", content)

    def bin(self, path: str) -> str:
        """The bin of a manifest."""
        delegations = self.targets(path.partition("/")[0]).delegations
        assert delegations is not None and delegations.succinct_roles is not None
        return delegations.succinct_roles.get_role_for_target(path)

    def commit(self, *roles: str, first: bool = False) -> None:
        """New versions of roles, then of snapshot and timestamp, signed and laid down."""
        for role in roles:
            self.signed[role].version += not first
            self._meta(role, self.write(role))
        for role, above in (("snapshot", "timestamp"), ("timestamp", None)):
            self.signed[role].version += not first
            if role == "timestamp":
                self.signed[role].unrecognized_fields["issued"] = f"{self.now:%Y-%m-%dT%H:%M:%SZ}"
            content = self.write(role)
            if above:
                found = self.signed[above]
                assert isinstance(found, Timestamp)
                found.snapshot_meta = _meta(self.signed[role].version, content)

    def rotate(self, role: str) -> None:
        """Another key for an online role, by a new root."""
        root = self.root()
        for keyid in list(root.roles[role].keyids):
            root.revoke_key(keyid, role)
        self.keys[role] = [CryptoSigner.generate_ed25519()]
        root.add_key(self.keys[role][0].public_key, role)
        root.version += 1
        self.write("root")

    def delegate(self, role: str) -> None:
        """Another key for a track, by targets."""
        delegations = self.targets("targets").delegations
        assert delegations is not None and delegations.roles is not None
        for signer in self.keys[role]:
            del delegations.keys[signer.public_key.keyid]
        self.keys[role] = [CryptoSigner.generate_ed25519()]
        key = self.keys[role][0].public_key
        delegations.keys[key.keyid] = key
        delegations.roles[role].keyids = [key.keyid]

    def sign(self, role: str) -> bytes:
        """A role's metadata, signed by its keys or by those in their stead."""
        metadata = Metadata(self.signed[role])
        owner = role.rpartition("-")[0] or role
        for signer in self.signers.get(role, self.keys.get(role) or self.keys[owner]):
            metadata.sign(signer, append=True)
        return metadata.to_bytes(_COMPACT)

    def write(self, role: str) -> bytes:
        """Sign a role and lay its metadata down."""
        content = self.sign(role)
        version = "" if role == "timestamp" else f"{self.signed[role].version}."
        self.lay(f"metadata/{version}{role}.json", content)
        return content

    def lay(self, path: str, content: bytes) -> None:
        """Write a public file, checked by nobody."""
        (self.public / path).parent.mkdir(parents=True, exist_ok=True)
        (self.public / path).write_bytes(content)

    def _meta(self, role: str, content: bytes) -> None:
        snapshot = self.signed["snapshot"]
        assert isinstance(snapshot, Snapshot)
        snapshot.meta[f"{role}.json"] = _meta(self.signed[role].version, content)

    def _build(self) -> None:
        root = Root(expires=self.until + timedelta(days=300), consistent_snapshot=True)
        for role in ("root", "targets", *_ONLINE):
            for signer in self.keys[role]:
                root.add_key(signer.public_key, role)
        root.roles["root"].threshold = root.roles["targets"].threshold = 2
        targets = Targets(expires=self.until)
        keys = {
            key.public_key.keyid: key.public_key
            for role in (*TRACKS, *KINDS)
            for key in self.keys[role]
        }
        paths = {**{role: f"{role}/*" for role in TRACKS}, **{r: f"{r}/*/*/*" for r in KINDS}}
        targets.delegations = Delegations(
            keys,
            {
                role: DelegatedRole(role, self._ids(role), 1, True, paths=[path])
                for role, path in paths.items()
            },
        )
        self.signed = {"root": root, "targets": targets}
        self.signed |= {role: Targets(expires=self.until) for role in (*TRACKS, *KINDS)}
        for role in KINDS:
            bins = SuccinctRoles(self._ids(role), 1, BITS, role)
            key = self.keys[role][0].public_key
            self.targets(role).delegations = Delegations({key.keyid: key}, succinct_roles=bins)
            self.signed |= {name: Targets(expires=self.until) for name in bins.get_roles()}
        self.signed["snapshot"] = Snapshot(expires=self.until)
        self.signed["timestamp"] = Timestamp(expires=self.until)

    def _ids(self, role: str) -> list[str]:
        return [signer.public_key.keyid for signer in self.keys[role]]


_ONLINE = ("snapshot", "timestamp")


def _meta(version: int, content: bytes) -> MetaFile:
    return MetaFile.from_data(version, content, ["sha256"])


Fault = Callable[[BaseHTTPRequestHandler], None]
"""Answers a request in its own way, byte by byte if need be: `handler.wfile.write(...)`."""


class Site(ThreadingHTTPServer):
    """A loopback server of a folder, as any static one: ranges, entity tags, kept connections.

    Attributes:
        folder: What it serves.
        faults: Path, such as `metadata/timestamp.json` -> how that is answered instead.
        log: Every request's path, status and range asked for.
    """

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.faults: dict[str, Fault] = {}
        self.log: list[tuple[str, int, str]] = []

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that leaves is none."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Site
    timeout = 30

    def do_GET(self) -> None:
        path = self.path.lstrip("/")
        fault = self.server.faults.get(path)
        if fault is not None:
            self.close_connection = True
            self.server.log.append((path, 0, self.headers.get("Range", "")))
            return fault(self)
        file = self.server.folder / path
        if not file.is_file():
            return self._answer(404, b"", {})
        content = file.read_bytes()
        tag = f'"{sha256(content).hexdigest()[:16]}"'
        if self.headers.get("If-None-Match") == tag:
            return self._answer(304, b"", {"ETag": tag})
        asked = self.headers.get("Range")
        if asked:
            start = int(asked.removeprefix("bytes=").partition("-")[0])
            if start >= len(content):
                return self._answer(416, b"", {})
            told = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
            return self._answer(206, content[start:], told)
        return self._answer(200, content, {"ETag": tag})

    def _answer(self, status: int, content: bytes, headers: Mapping[str, str]) -> None:
        self.server.log.append((self.path.lstrip("/"), status, self.headers.get("Range", "")))
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 304:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def serve(folder: Path) -> Iterator[Site]:
    """A folder on loopback for as long as it is needed."""
    site = Site(folder)
    thread = threading.Thread(target=site.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield site
    finally:
        site.shutdown()
        thread.join()
        site.server_close()


def device(home: Path, site: Site, channel: Channel, **changes: Any) -> Config:
    """A device's configuration, with the channel's first root given by hand.

    Args:
        home: Folder of the root and of the state.
        site: Who serves.
        channel: The channel.
        changes: Fields that are set otherwise.
    """
    root = home / "root.json"
    home.mkdir(parents=True, exist_ok=True)
    root.write_bytes(channel.root_bytes)
    given = {
        "url": site.url,
        "ensemble": "small",
        "track": "stable",
        "target": "cpu-x86_64",
        "root": root,
        "state": home / "state",
        "device": "unit-1",
        "limits": Limits(timeout_seconds=0.2, slow_bytes_per_second=2000, free_bytes=0),
    }
    return Config(**{**given, **changes})
