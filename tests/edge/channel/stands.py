"""A channel to test with: keys in the environment, releases of tiny bundles, a device over HTTP."""

import http.client
import http.server
import json
import os
import shutil
import threading
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient import FetcherInterface, Updater

from edge.channel.config import PEOPLE, ROLES
from edge.channel.init import init
from edge.channel.publish import delivered, put
from edge.channel.repository import Repository
from edge.disk import RealDisk
from firnline.contracts.places import assignment_path, manifest_path, part_path
from firnline.digest import bytes_digest
from firnline.rollout.assignment import parse
from tests.edge.agent import bundles

ENSEMBLE, TARGET = "small", "cpu-x86_64"


def variable(role, number=1):
    return f"KEY_{role.upper()}_{number}"


def uris(role, generation=1):
    """URIs of a role's keys: three for people, one for the rest."""
    count = 3 if role in PEOPLE else 1
    return [f"env:{variable(role, 3 * generation - place)}" for place in range(count)]


def make_keys(generations=3):
    """Environment variables with keys for every role, several times over."""
    return {
        uri.removeprefix("env:"): CryptoSigner.generate_ed25519().private_bytes.decode()
        for role in ROLES
        for generation in range(1, generations + 1)
        for uri in uris(role, generation)
    }


def make_channel(folder, **options):
    chosen = {role: uris(role) for role in ROLES} | options.pop("uris", {})
    return init(folder, folder / "keys", uris=chosen, **options)


class Releases:
    """Device bundles, made once: number -> release and its folder."""

    def __init__(self, folder):
        self._folder, self._made = folder, {}

    def __getitem__(self, number):
        if number not in self._made:
            folder = self._folder / str(number)
            self._made[number] = bundles.make(folder, classifier=number)
        return self._made[number]

    def put(self, repo, number, track="beta", share=1.0, reason="a test"):
        """Publish a release."""
        made = self[number]
        found = {TARGET: delivered(made.folder)}
        with repo.locked() as state:
            return put(repo, state, ENSEMBLE, made.release, found, track, share, reason)


class Fetcher(FetcherInterface):
    """Plain GET over one connection; notes what it asks for."""

    def __init__(self, url):
        self.asked = []
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)

    def _fetch(self, url):
        yield self.get(urlsplit(url).path)

    def get(self, path):
        self.asked.append(path)
        self._connection.request("GET", path)
        answer = self._connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise DownloadHTTPError(path, answer.status)
        return content

    def close(self):
        self._connection.close()


class FileFetcher(Fetcher):
    """The same from a folder, as from a stick that is carried to a device."""

    def __init__(self):
        self.asked = []

    def get(self, path):
        self.asked.append(path)
        try:
            return Path(path).read_bytes()
        except FileNotFoundError:
            raise DownloadHTTPError(path, 404) from None

    def close(self):
        pass


def fetcher(url):
    return FileFetcher() if url.startswith("file:") else Fetcher(url)


@dataclass
class Device:
    """What a device does with TUF's own client, over HTTP or from a folder: all is verified."""

    url: str
    root: bytes
    trust: Path

    def pull(self, track="beta", device="unit-1", target=TARGET):
        """The assignment, and the manifest of the release it gives the device, parts and all."""
        self.trust.mkdir(parents=True, exist_ok=True)
        with closing(fetcher(self.url)) as source:
            return self._pull(source, track, device, target)

    def poll(self):
        """Ask whether there is anything new; gives the paths that were asked for."""
        with closing(fetcher(self.url)) as source:
            self._updater(source).refresh()
            return source.asked

    def learn(self, track="beta"):
        """Verify all metadata that lead to this device's release, and the assignment."""
        self.trust.mkdir(parents=True, exist_ok=True)
        with closing(fetcher(self.url)) as source:
            updater = self._updater(source)
            named = updater.get_targetinfo(assignment_path(ENSEMBLE, track))
            found = parse(Path(updater.download_target(named)).read_bytes(), "a device")
            return updater.get_targetinfo(manifest_path(ENSEMBLE, TARGET, found.newest))

    def _updater(self, source):
        return Updater(
            str(self.trust),
            f"{self.url}/metadata/",
            str(self.trust),
            f"{self.url}/targets/",
            fetcher=source,
            bootstrap=self.root,
        )

    def _pull(self, source, track, device, target):
        updater = self._updater(source)
        updater.refresh()
        named = updater.get_targetinfo(assignment_path(ENSEMBLE, track))
        assignment = manifest = None
        if named is not None:
            content = Path(updater.download_target(named)).read_bytes()
            assignment = parse(content, "a device")
            release = assignment.release_for(device)
            if release is not None:
                manifest = self._manifest(updater, source, assignment, release, target)
        return SimpleNamespace(
            assignment=assignment, manifest=manifest, requests=source.asked, updater=updater
        )

    def _manifest(self, updater, source, assignment, release, target):
        named = updater.get_targetinfo(manifest_path(ENSEMBLE, target, release))
        pin = assignment.pins[release][target]
        assert (named.hashes["sha256"], named.length) == (pin.sha256, pin.length)
        manifest = json.loads(Path(updater.download_target(named)).read_bytes())
        assert manifest["release"] == release
        for digest in manifest["files"].values():
            content = source.get(f"{urlsplit(self.url).path}/parts/{part_path(digest)}")
            assert bytes_digest(content) == digest
        return manifest


class _Quiet(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def version_string(self):
        return "files"

    def send_error(self, code, *_):
        self.send_response(code)
        self.send_header("Content-Length", "0")
        self.end_headers()


@contextmanager
def serving(public):
    """The public folder on loopback, by a plain file server."""
    handler = partial(_Quiet, directory=str(public))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Killed(BaseException):
    """The publisher is gone: nothing in the code under test may catch it."""


def killed():
    raise Killed


class DyingDisk(RealDisk):
    """A disk whose publisher dies at one step; a write has three: begun, whole, renamed.

    It syncs nothing: a process that dies takes no page of the system's cache with it.
    """

    def __init__(self, at=None, die=killed):
        self._at, self._die = at, die
        self.taken = 0

    def _step(self):
        self.taken += 1
        if self.taken == self._at:
            self._die()

    def write(self, path, content, mode=0o644):
        data = content if isinstance(content, bytes) else b"".join(content)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.0.partial")
        for part in (data[: len(data) // 2], data):
            partial.write_bytes(part)
            self._step()
        partial.replace(path)
        self._step()

    def remove(self, path):
        super().remove(path)
        self._step()


def copy(repo, folder, **options):
    """The same channel in another folder."""
    shutil.copytree(repo.folder, folder)
    return Repository(folder, **options)


def forked(action):
    """Run something in a process of its own.

    Returns:
        Its exit code, once it is gone.
    """
    child = start(action)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def start(action):
    """Start something in a process of its own; 0 is its exit code when all went well."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        code = action() or 0
    finally:
        os._exit(code)
