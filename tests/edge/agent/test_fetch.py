"""What a device lets a server do to it: real sockets, and a server that lies on every byte."""

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PrivateFormat
from tuf.api.exceptions import DownloadHTTPError

from edge.agent.config import Limits
from edge.agent.connection import CHUNK, Connection
from edge.agent.fetch import Fetcher
from edge.agent.limits import MOST_DOCUMENT_BYTES
from firnline.errors import DeliveryError

LIMITS = Limits(timeout_seconds=0.2, slow_bytes_per_second=5000)
OK = b"HTTP/1.1 200 OK\r\n"
PART = "ab/" + "ab" * 32

Say = Callable[[socket.socket, bytes], None]
"""What a server says to a request on a connection; the connection stays when it returns."""


@contextmanager
def server(*says: Say, wrap: ssl.SSLContext | None = None) -> Iterator[tuple[str, list[bytes]]]:
    """A server that gives each request the next answer, the last one for ever."""
    requests: list[bytes] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def talk(connection: socket.socket) -> None:
        with suppress(OSError), _wrapped(connection, wrap) as connection:
            while request := connection.recv(1 << 16):
                requests.append(request)
                says[min(len(requests), len(says)) - 1](connection, request)

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=talk, args=(listener.accept()[0],), daemon=True).start()

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/base/", requests
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def _wrapped(connection: socket.socket, wrap: ssl.SSLContext | None) -> socket.socket:
    return wrap.wrap_socket(connection, server_side=True) if wrap else connection


def say(*parts: bytes, close: bool = False) -> Say:
    def answer(connection: socket.socket, request: bytes) -> None:
        for part in parts:
            connection.sendall(part)
        if close:
            connection.shutdown(socket.SHUT_RDWR)

    return answer


def body(content: bytes, status: bytes = OK, *headers: bytes) -> Say:
    length = b"Content-Length: %d\r\n" % len(content)
    return say(status + b"".join(line + b"\r\n" for line in headers) + length + b"\r\n" + content)


def drip(start: bytes, part: bytes) -> Say:
    def answer(connection: socket.socket, request: bytes) -> None:
        connection.sendall(start)
        while True:
            connection.sendall(part)
            time.sleep(0.02)

    return answer


def flood(start: bytes, part: bytes) -> Say:
    def answer(connection: socket.socket, request: bytes) -> None:
        connection.sendall(start)
        while True:
            connection.sendall(part)

    return answer


def refused(say: Say, limits: Limits = LIMITS, most: int = 1000) -> DeliveryError:
    with server(say) as (url, _), Fetcher(url, limits) as fetcher:
        with pytest.raises(DeliveryError) as error:
            fetcher.download_bytes("metadata/timestamp.json", most)
        assert not fetcher._connection.kept
    return error.value


def test_a_request_is_small_and_plain() -> None:
    with server(body(b"content")) as (url, requests), Fetcher(url, LIMITS) as fetcher:
        assert fetcher.download_bytes("metadata/1.root.json", 7) == b"content"
        assert fetcher.last == ("metadata/1.root.json", b"content")
        assert (fetcher.requests, fetcher.received) == (1, len(OK) + 19 + 2 + 7)
    head, *lines = requests[0].decode().split("\r\n")
    assert head == "GET /base/metadata/1.root.json HTTP/1.1"
    names = {line.partition(":")[0] for line in lines if line}
    assert names == {"Host", "Accept-Encoding", "User-Agent"}
    assert "Accept-Encoding: identity" in lines and len(requests[0]) < 160


def test_a_timestamp_is_asked_for_by_its_tag_until_it_was_no_good() -> None:
    tagged = body(b"first", OK, b'ETag: "one"')
    same = say(b"HTTP/1.1 304 Not Modified\r\n\r\n")
    with server(tagged, same, tagged) as (url, requests), Fetcher(url, LIMITS) as fetcher:
        assert fetcher.download_bytes("metadata/timestamp.json", 100) == b"first"
        assert fetcher.download_bytes("metadata/timestamp.json", 100) == b"first"
        fetcher.forget()
        assert fetcher.download_bytes("metadata/timestamp.json", 100) == b"first"
    assert [b'If-None-Match: "one"' in request for request in requests] == [False, True, False]


def test_one_connection_for_all_and_another_when_it_was_closed() -> None:
    answers = body(b"a"), body(b"b"), say(b"", close=True), body(b"c")
    with server(*answers) as (url, requests), Fetcher(url, LIMITS) as fetcher:
        assert [fetcher.download_bytes("x", 9) for _ in range(3)] == [b"a", b"b", b"c"]
    assert len(requests) == 4


def test_a_connection_that_was_silent_for_long_is_not_asked_again() -> None:
    known: list[socket.socket] = []

    def first(connection: socket.socket, request: bytes) -> None:
        if connection not in known:
            known.append(connection)
            body(b"a")(connection, request)

    with server(first) as (url, _), Fetcher(url, LIMITS) as fetcher:
        for _ in range(2):
            assert fetcher.download_bytes("x", 9) == b"a"
            time.sleep(LIMITS.timeout_seconds * 1.5)
    assert len(known) == 2


@pytest.mark.parametrize("status", [403, 404])
def test_what_is_absent_tells_tuf_that_no_newer_root_is_there(status: int) -> None:
    absent = body(b"nothing here", b"HTTP/1.1 %d Gone\r\n" % status)
    with server(absent, body(b"a")) as (url, _), Fetcher(url, LIMITS) as fetcher:
        with pytest.raises(DownloadHTTPError) as error:
            fetcher.download_bytes("metadata/2.root.json", 100)
        assert error.value.status_code == status
        assert fetcher._connection.kept
        assert fetcher.download_bytes("x", 1) == b"a"


@pytest.mark.parametrize(
    "say",
    [
        flood(OK + b"\r\n", bytes(1 << 16)),
        flood(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1000\r\n" + bytes(0x1000) + b"\r\n"),
        flood(OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n" * 1000),
        flood(b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n" * 100),
        flood(b"HTTP/1.1 404 No\r\n\r\n", bytes(1 << 16)),
        say(OK + b"Content-Length: 1000000000000\r\n\r\n"),
        say(b"HTTP/1.1 404 No\r\nContent-Length: 1000000000000\r\n\r\n"),
        say(OK + b"Content-Length: " + b"9" * 400 + b"\r\n\r\n"),
        body(bytes(1001)),
        say(OK + b"\r\n" + bytes(1001), close=True),
    ],
)  # fmt: skip
def test_data_without_end(say: Say) -> None:
    error = refused(say)
    assert error.code == "U9" and error.found.startswith("endless data"), error
    assert error.where.endswith("/base/metadata/timestamp.json")
    assert len(error.found) < 300


@pytest.mark.parametrize(
    "say",
    [
        drip(b"", b"H"),
        drip(b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"),
        drip(OK, b"X: y\r\n"),
        drip(OK + b"Content-Length: 900\r\n\r\n", b"x"),
        drip(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        say(OK + b"Content-Length: 900\r\n\r\nhalf"),
        say(b""),
    ],
)
def test_data_that_drip(say: Say) -> None:
    error = refused(say)
    assert error.code == "U10" and error.found.startswith("slow retrieval"), error


def test_a_slow_line_is_let_by_when_its_owner_says_so() -> None:
    patient = replace(LIMITS, slow_bytes_per_second=1)
    answer = drip(OK + b"Content-Length: 15\r\n\r\n", b"x")
    with server(answer) as (url, _), Fetcher(url, patient) as fetcher:
        assert fetcher.download_bytes("x", 15) == b"x" * 15


def test_compressed_content_is_a_bomb_that_was_not_asked_for() -> None:
    error = refused(body(b"\x1f\x8b", OK, b"Content-Encoding: gzip"))
    assert error.code == "U13" and error.found.startswith("bomb")


@pytest.mark.parametrize(
    "say",
    [
        body(b"", b"HTTP/1.1 302 Found\r\n", b"Location: http://127.0.0.1:1/x"),
        body(b"", b"HTTP/1.1 500 Oh\r\n"),
        body(b"", b"HTTP/1.1 206 Partial\r\n"),
        say(b"HTTP/1.1 304 Not Modified\r\n\r\n"),
        say(OK + b"Content-Length: 9\r\n\r\nhalf", close=True),
        say(b"\x00\xff\r\n\r\n", close=True),
        say(OK + b"X: y\r\n" * 200 + b"\r\n"),
        say(OK + b"Transfer-Encoding: chunked\r\n\r\n-5\r\n"),
        say(OK + b"X: " + b"y" * 65537 + b"\r\n\r\n", close=True),
        say(b"", close=True),
    ],
)
def test_a_channel_that_cannot_be_used(say: Say) -> None:
    error = refused(say)
    assert error.code == "U17" and error.found.startswith("the channel cannot be reached"), error


def test_nobody_listens_or_the_name_is_unknown() -> None:
    for url in ("http://127.0.0.1:1", "https://127.0.0.1:1", "http://name.invalid"):
        with Fetcher(url, LIMITS) as fetcher, pytest.raises(DeliveryError) as error:
            fetcher.download_bytes("x", 1)
        assert error.value.code == "U17" and url in error.value.where


def test_what_a_server_says_stays_on_one_line_of_a_log() -> None:
    error = refused(say(b"\x1b[2J\x07 gone\r\n\r\n", close=True))
    assert error.code == "U17" and error.found.isprintable() and "gone" in error.found


@pytest.mark.parametrize("tag", [b"x", b'"a\r\n b"', b'"' + b"a" * 200 + b'"', b'"\xff"'])
def test_an_odd_tag_is_not_sent_back(tag: bytes) -> None:
    tagged = body(b"a", OK, b"ETag: " + tag)
    with server(tagged) as (url, requests), Fetcher(url, LIMITS) as fetcher:
        for _ in range(2):
            assert fetcher.download_bytes("metadata/timestamp.json", 100) == b"a"
    assert not any(b"If-None-Match" in request for request in requests)


def test_a_certificate_that_nobody_vouches_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = _certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with server(body(b"a"), wrap=context) as (url, _):
        address = url.replace("http:", "https:")
        with Fetcher(address, LIMITS) as fetcher, pytest.raises(DeliveryError) as error:
            fetcher.download_bytes("x", 1)
        assert error.value.code == "U17" and "certificate" in error.value.found.lower()
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        with Fetcher(address, LIMITS) as fetcher:
            assert fetcher.download_bytes("x", 1) == b"a"
    dripping = drip(OK + b"Content-Length: 900\r\n\r\n", b"x")
    with server(dripping, wrap=context) as (url, _):
        fetcher = Fetcher(url.replace("http:", "https:"), LIMITS)
        with fetcher, pytest.raises(DeliveryError) as error:
            fetcher.download_bytes("x", 900)
    assert error.value.code == "U10"


def _certificate(folder: Path) -> Path:
    """A certificate for 127.0.0.1 that signs itself, and its key, in one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "channel")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    pem = Encoding.PEM
    path = folder / "certificate.pem"
    path.write_bytes(
        made.public_bytes(pem)
        + key.private_bytes(pem, PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return path


def test_the_environments_proxy_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with server(body(b"a")) as (url, _), Fetcher(url, LIMITS) as fetcher:
        assert fetcher.download_bytes("x", 1) == b"a"


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("https://[2001:db8::12]/a", "2001:db8::12", 443),
        ("http://[fe80::ab]", "fe80::ab", 80),
        ("http://[::1]:8000/", "::1", 8000),
        ("https://channel.example/", "channel.example", 443),
    ],
)
def test_an_address_is_taken_apart(url: str, host: str, port: int) -> None:
    found = Connection(url, LIMITS)._http
    assert (found.host, found.port) == (host, port)


def test_no_length_that_metadata_announce_is_above_a_documents() -> None:
    announced = OK + b"Content-Length: %d\r\n\r\n" % (MOST_DOCUMENT_BYTES + 1)
    assert refused(say(announced), most=1 << 40).code == "U9"


def test_reading_pauses_above_the_rate() -> None:
    content = bytes(20_000)
    limits = replace(LIMITS, rate_bytes_per_second=100_000)
    with server(body(content)) as (url, _), Fetcher(url, limits) as fetcher:
        began = time.monotonic()
        assert b"".join(fetcher.part(PART, 0, len(content))) == content
        # The least it can take; a slow machine takes longer.
        assert time.monotonic() - began >= 0.2


def test_a_part_comes_in_chunks() -> None:
    content = bytes(range(256)) * 1024
    with server(body(content)) as (url, requests), Fetcher(url, LIMITS) as fetcher:
        chunks = list(fetcher.part(PART, 0, len(content)))
    assert b"".join(chunks) == content and max(map(len, chunks)) <= CHUNK
    assert b"Range" not in requests[0] and b"/base/parts/" + PART.encode() in requests[0]


def test_the_rest_of_a_part() -> None:
    rest = body(b"fgh", b"HTTP/1.1 206 Partial\r\n", b"Content-Range: bytes 5-7/8")
    with server(rest) as (url, requests), Fetcher(url, LIMITS) as fetcher:
        assert b"".join(fetcher.part(PART, 5, 8)) == b"fgh"
    assert b"Range: bytes=5-7\r\n" in requests[0]


def test_a_server_without_ranges_sends_all() -> None:
    content = bytes(range(200)) * 1000
    with server(body(content)) as (url, _), Fetcher(url, LIMITS) as fetcher:
        found = b"".join(fetcher.part(PART, CHUNK + 5, len(content)))
    assert found == content[CHUNK + 5 :]


@pytest.mark.parametrize(
    ("say", "code"),
    [
        (body(b"abc", b"HTTP/1.1 206 P\r\n", b"Content-Range: bytes 0-2/8"), "U17"),
        (body(b"", b"HTTP/1.1 416 No\r\n"), "U1"),
        (body(b"", b"HTTP/1.1 404 No\r\n"), "U17"),
        (body(bytes(9), b"HTTP/1.1 206 P\r\n", b"Content-Range: bytes 5-13/14"), "U9"),
        (body(bytes(9)), "U9"),
    ],
)
def test_another_range_than_asked_for(say: Say, code: str) -> None:
    with (
        server(say) as (url, _),
        Fetcher(url, LIMITS) as fetcher,
        pytest.raises(DeliveryError) as error,
    ):
        list(fetcher.part(PART, 5, 8))
    assert error.value.code == code, error.value


def test_a_part_that_nobody_reads_to_its_end_closes_the_connection() -> None:
    with server(body(bytes(1 << 20)), body(b"a")) as (url, _), Fetcher(url, LIMITS) as fetcher:
        next(parts := fetcher.part(PART, 0, 1 << 20))
        parts.close()
        assert fetcher.download_bytes("x", 1) == b"a"
