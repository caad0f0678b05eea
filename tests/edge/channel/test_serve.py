"""`channel serve` over real sockets: what is handed out, what is not, and slow or rude clients."""

import hashlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading

import pytest

from edge.channel.public_files import HOT_FILE_BYTES, PublicFiles
from edge.channel.serve import Patience, is_loopback, serve
from firnline.errors import DeliveryError
from tests.resources.project import ROOT

SERVER = """
import json, sys
from pathlib import Path
from edge.channel.serve import Patience, serve
serve(
    Path(sys.argv[1]), port=0, patience=Patience(**json.loads(sys.argv[2])),
    ready=lambda address: print(address, flush=True),
)
"""
TIMESTAMP, NEXT_ROOT = "/metadata/timestamp.json", "/metadata/2.root.json"
LARGE = bytes(range(256)) * (HOT_FILE_BYTES // 256 + 8)
PART = hashlib.sha256(LARGE).hexdigest()
PART_PATH = f"/parts/{PART[:2]}/{PART}"
FOREVER = "public, max-age=31536000, immutable"


def fill(public):
    secret = public.parent / "secret.json"
    files = {
        secret: b"{}",
        public / "metadata/timestamp.json": b'{"signed": 1}',
        public / "metadata/1.root.json": b'{"signed": 2}',
        public / f"targets/beta/{'a' * 64}.small.json": b'{"format": 3}',
        public / PART_PATH[1:]: LARGE,
        public / f"{PART_PATH[1:]}.partial": b"half",
        public / "metadata/.timestamp.json.7.partial": b"half",
        public / "other/file.json": b"{}",
    }
    for path, content in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (public / "metadata/leaves.json").symlink_to(secret)
    (public / "metadata/stays.json").symlink_to(public / "metadata/timestamp.json")
    return public


class Site:
    """A server in a process of its own."""

    def __init__(self, public, **patience):
        self.public = public
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(public), json.dumps(patience)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=ROOT,
            text=True,
        )
        self.address = self.process.stdout.readline().strip()
        self.port = int(self.address.rpartition(":")[2])

    def ask(self, path, method="GET", body=None, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.putrequest(method, path, skip_accept_encoding=True)
            for name, value in named.items():
                connection.putheader(name, value)
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            answer = connection.getresponse()
            return answer.status, dict(answer.headers), answer.read()
        finally:
            connection.close()

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        _, self.log = self.process.communicate(timeout=20)
        return self.process.returncode


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    found = Site(fill(tmp_path_factory.mktemp("site") / "public"))
    yield found
    assert found.end() == 0
    assert found.log == "", "clients can fill the log"


def test_an_idle_poll_is_two_answers_of_few_bytes(site):
    tag = site.ask(TIMESTAMP)[1]["ETag"]
    told = b""
    with site.connect() as device:
        for path, known in ((NEXT_ROOT, ""), (TIMESTAMP, f"If-None-Match: {tag}\r\n")):
            asked = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{known}\r\n".encode()
            device.sendall(asked)
            answer = b""
            while b"\r\n\r\n" not in answer:
                answer += device.recv(4096)
            told += answer
    assert told.count(b"HTTP/1.1 404") == told.count(b"HTTP/1.1 304") == 1
    assert len(told) < 300 and b"Server" not in told and b"Date" in told


def test_a_timestamp_is_asked_for_again_and_the_rest_never_changes(site):
    status, headers, body = site.ask(TIMESTAMP)
    assert (status, body) == (200, b'{"signed": 1}')
    assert headers["Cache-Control"] == "no-cache"
    assert headers["Content-Type"] == "application/json"
    for path in ("/metadata/1.root.json", f"/targets/beta/{'a' * 64}.small.json", PART_PATH):
        assert site.ask(path)[1]["Cache-Control"] == FOREVER, path
    assert site.ask(NEXT_ROOT)[1]["Cache-Control"] == "no-cache"


@pytest.mark.parametrize("path", [TIMESTAMP, PART_PATH])
def test_what_is_known_is_not_sent_again(site, path):
    _, headers, body = site.ask(path)
    tag = headers.get("ETag") or headers["Etag"]
    for known in (tag, f'"other", {tag}', "*"):
        status, again, nothing = site.ask(path, If_None_Match=known)
        assert (status, nothing) == (304, b"")
        assert again["Cache-Control"] == headers["Cache-Control"]
    assert site.ask(path, If_None_Match='"other"')[2] == body


@pytest.mark.parametrize("path", [TIMESTAMP, PART_PATH])
def test_head_is_get_without_its_body(site, path):
    _, headers, body = site.ask(path)
    status, told, nothing = site.ask(path, "HEAD")
    assert (status, nothing) == (200, b"")
    assert told["Content-Length"] == headers["Content-Length"] == str(len(body))


@pytest.mark.parametrize("path", [TIMESTAMP, PART_PATH])
@pytest.mark.parametrize("asked", [(2, 5), (1, None), (None, 3), (0, 10**9)])
def test_a_range_is_that_part(site, path, asked):
    first, last = asked
    body = site.ask(path)[2]
    wanted = body[first : None if last is None else last + 1] if first is not None else body[-last:]
    text = f"bytes={'' if first is None else first}-{'' if last is None else last}"
    status, headers, part = site.ask(path, Range=text)
    assert (status, part) == (206, wanted)
    start = len(body) - last if first is None else first
    end = start + len(wanted) - 1
    assert headers["Content-Range"] == f"bytes {start}-{end}/{len(body)}"


@pytest.mark.parametrize("path", [TIMESTAMP, PART_PATH])
def test_a_range_beyond_the_end_is_refused(site, path):
    status, headers, _ = site.ask(path, Range=f"bytes={10**9}-")
    assert status == 416
    assert headers["Content-Range"] == f"bytes */{len(site.ask(path)[2])}"


def test_a_range_that_is_not_understood_or_of_other_bytes_counts_as_none(site):
    tag = site.ask(TIMESTAMP)[1]["ETag"]
    for headers in ({"Range": "lines=1-2"}, {"Range": "bytes=0-1", "If_Range": '"other"'}):
        assert site.ask(TIMESTAMP, **headers)[::2] == (200, b'{"signed": 1}')
    assert site.ask(TIMESTAMP, Range="bytes=0-1", If_Range=tag)[::2] == (206, b'{"')


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/metadata",
        "/metadata/",
        "/metadata//timestamp.json",
        "/other/file.json",
        "/channel.json",
        "/metadata/../../secret.json",
        "/metadata/..%2f..%2fsecret.json",
        "/%2e%2e/secret.json",
        "/metadata/%2e%2e/%2e%2e/secret.json",
        "/metadata/timestamp.json%00",
        "/metadata/timestamp%2ejson",
        "/metadata\\timestamp.json",
        "/metadata/.timestamp.json.7.partial",
        f"{PART_PATH}.partial",
        "/metadata/leaves.json",
        f"/parts/{PART[:2]}",
        "/metadata/" + "a" * 1000 + ".json",
    ],
)
def test_nothing_else_is_handed_out(site, path):
    status, _, body = site.ask(path)
    assert (status, body) == (404, b"")


def test_a_link_that_stays_inside_is_followed(site):
    assert site.ask("/metadata/stays.json")[::2] == (200, b'{"signed": 1}')


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_files_are_only_read(site, method):
    status, headers, _ = site.ask(TIMESTAMP, method)
    assert (status, headers["Allow"], headers["Connection"]) == (405, "GET, HEAD", "close")


def test_a_body_is_not_read(site):
    status, headers, _ = site.ask(TIMESTAMP, body=b"x" * 100)
    assert (status, headers["Connection"]) == (413, "close")


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"a" * 5000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: 1\r\n" % n for n in range(99)) + b"\r\n",
        b"\x16\x03\x01\x02\x00 not HTTP at all\r\n\r\n",
    ],
)
def test_a_head_that_is_too_large_or_none_is_refused(site, head):
    with site.connect() as client:
        client.sendall(head)
        assert client.recv(4096).startswith(b"HTTP/1.0 400") or client.recv(4096) == b""
    assert site.ask(TIMESTAMP)[0] == 200


def test_a_renamed_timestamp_is_seen_at_once(tmp_path):
    files = PublicFiles(fill(tmp_path / "public"))
    path = tmp_path / "public/metadata/timestamp.json"
    before = files.find(TIMESTAMP)
    assert files.find(TIMESTAMP) is before
    new = path.with_name("new")
    new.write_bytes(b'{"signed": 9}')
    os.utime(new, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    new.replace(path)
    after = files.find(TIMESTAMP)
    assert after.body == b'{"signed": 9}' and after.etag != before.etag
    path.unlink()
    assert files.find(TIMESTAMP) is None


def test_memory_holds_what_was_asked_for_lately(tmp_path):
    public = fill(tmp_path / "public")
    for number in range(10):
        (public / f"metadata/{number}.snapshot.json").write_bytes(b"s" * 100)
    files = PublicFiles(public, hot_bytes=350)
    found = [files.find(f"/metadata/{number}.snapshot.json") for number in range(10)]
    assert files.find("/metadata/9.snapshot.json") is found[9]
    again = files.find("/metadata/0.snapshot.json")
    assert again is not found[0] and again.body == found[0].body


def test_a_link_that_comes_later_is_not_followed_out(tmp_path):
    public = fill(tmp_path / "public")
    files = PublicFiles(public)
    assert files.find(TIMESTAMP) is not None
    (public / "metadata/timestamp.json").unlink()
    (public / "metadata/timestamp.json").symlink_to(public.parent / "secret.json")
    assert files.find(TIMESTAMP) is None


def test_slow_clients_are_dropped_and_an_answer_under_way_is_finished(tmp_path):
    public = fill(tmp_path / "public")
    huge = b"x" * 60_000_000
    (public / "parts/aa").mkdir()
    (public / "parts/aa" / ("a" * 64)).write_bytes(huge)
    site = Site(public, idle_seconds=0.5, stalled_seconds=0.5, least_bytes_per_second=10**9)
    head = f"GET /parts/aa/{'a' * 64} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
    with site.connect() as silent, site.connect() as trickling, site.connect() as stalled:
        stalled.sendall(head)
        trickling.sendall(b"GET /metadata/timest")
        for client in (silent, trickling):
            assert client.recv(10) == b""
        taken = 0
        # What had been sent before the cut comes still; the whole never does.
        try:
            while chunk := stalled.recv(1 << 20):
                taken += len(chunk)
                threading.Event().wait(0.05)
        except ConnectionResetError:
            pass
        assert taken < len(huge)
    assert site.ask(TIMESTAMP)[0] == 200
    assert site.end() == 0


def test_a_server_that_is_told_to_end_finishes_its_answers(tmp_path):
    site = Site(fill(tmp_path / "public"))
    large = b"y" * 30_000_000
    (site.public / "parts/bb").mkdir()
    (site.public / "parts/bb" / ("b" * 64)).write_bytes(large)
    with site.connect() as device:
        device.sendall(f"GET /parts/bb/{'b' * 64} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        got = device.recv(1 << 16)
        site.process.send_signal(signal.SIGTERM)
        while chunk := device.recv(1 << 20):
            got += chunk
    assert got.partition(b"\r\n\r\n")[2] == large
    # Another signal would find no handler any more.
    site.process.communicate(timeout=20)
    assert site.process.returncode == 0


def test_other_machines_reach_it_only_when_asked(tmp_path):
    public = fill(tmp_path / "public")
    for host in ("0.0.0.0", "::", "192.168.1.7", "example.org"):  # noqa: S104
        with pytest.raises(DeliveryError, match="V31"):
            serve(public, host)
    assert is_loopback("127.8.9.1") and is_loopback("::1") and is_loopback("localhost")


def test_a_folder_that_is_no_channel_is_not_served(tmp_path):
    with pytest.raises(DeliveryError, match="V30"):
        serve(tmp_path)


def test_a_port_that_is_taken_is_named(site, tmp_path):
    with pytest.raises(DeliveryError, match=f"V32.*{site.port}"):
        serve(site.public, port=site.port, patience=Patience())
