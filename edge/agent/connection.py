"""HTTP as a device speaks it: one server, plain GET, and never a byte or a second too many.

Nothing that comes back is believed, TLS or not: metadata and hashes decide. What is guarded here is
the device itself: its memory, its disk and its time.
"""

import http.client
import io
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from edge.agent.config import Limits
from edge.agent.meter import Meter, endless, slow
from edge.agent.quoting import quoted
from firnline.errors import DeliveryError

CHUNK = 1 << 16
"""Bytes of a body that are in memory at once."""
ABSENT = frozenset({403, 404})
_HEADERS = {"Accept-Encoding": "identity", "User-Agent": "firnline-agent"}
_HEADER_BYTES = 1 << 16


class Connection:
    """A connection to one server, kept from one request to the next.

    Redirects are not followed and proxies of the environment not used: a channel has one address.

    Args:
        base_url: Address, `https://host/path`; plain `http` as well.
        limits: What an answer may take.

    Attributes:
        requests: How many were sent.
    """

    def __init__(self, base_url: str, limits: Limits) -> None:
        address = urlsplit(base_url)
        self._secure = address.scheme == "https"
        self.requests = 0
        self._url, self._path = base_url.rstrip("/"), address.path.rstrip("/")
        self._limits = limits
        # Without a port, http.client takes the end of an IPv6 address for one.
        port = address.port or (http.client.HTTPS_PORT if self._secure else http.client.HTTP_PORT)
        self._http = self._client(address.hostname or "", port)
        self._most, self._where, self._received = 0, self._url, 0
        self._meter: Meter | None = None
        self._used = 0.0

    @property
    def received(self) -> int:
        """Bytes that came back, with headers."""
        return self._received + (self._meter.received if self._meter else 0)

    @property
    def kept(self) -> bool:
        """Whether the next request finds it open."""
        return self._http.sock is not None

    def close(self) -> None:
        """Close it; the next request opens another."""
        self._http.close()

    def address(self, path: str) -> str:
        """The whole address of a path."""
        return f"{self._url}/{path}"

    @contextmanager
    def get(
        self, path: str, most: int, headers: Mapping[str, str]
    ) -> Iterator[http.client.HTTPResponse]:
        """The answer to a request; one that is not read to its end costs the connection.

        Args:
            path: Below the address.
            most: Bytes that its body may have.
            headers: Beside those of every request.

        Raises:
            DeliveryError: U9 it is longer, U10 it comes too slowly, U13 it is compressed, U17 it
                does not come or breaks off.
        """
        self._most, self._where = most, self.address(path)
        answer = None
        try:
            answer = self._ask(path, headers)
            _uncompressed(answer, self._where)
            yield answer
        except TimeoutError as error:
            raise slow(f"nothing for {self._limits.timeout_seconds:g} s", self._where) from error
        # A chunk of a negative length is a ValueError to http.client.
        except (OSError, ValueError, OverflowError, http.client.HTTPException) as error:
            raise unreachable(f"{type(error).__name__}: {error}", self._where) from error
        finally:
            # Closed by itself at its end, and whole: then what follows on the line is the next.
            whole = answer is not None and answer.isclosed() and not answer.length
            if answer is not None:
                answer.close()
            if not whole:
                self.close()
            self._used = time.monotonic()

    def body(self, answer: http.client.HTTPResponse, most: int) -> Iterator[bytes]:
        """An answer's body, a chunk at a time.

        Raises:
            DeliveryError: U9, it is longer than `most`; U17, it broke off; else as `get`.
        """
        if answer.length is not None and answer.length > most:
            raise endless(f"{answer.length:,} bytes announced, {most:,} at most", self._where)
        left = most
        # One byte more than may come is asked for, so that a longer answer shows.
        while chunk := answer.read(min(CHUNK, left + 1)):
            left -= len(chunk)
            if left < 0:
                raise endless(f"more than {most:,} bytes", self._where)
            yield chunk
        if answer.length:
            told = f"the answer broke off {answer.length:,} bytes before its end"
            raise unreachable(told, self._where)

    def _client(self, host: str, port: int) -> http.client.HTTPConnection:
        seconds = self._limits.timeout_seconds
        made = (
            http.client.HTTPSConnection(
                host, port, timeout=seconds, context=ssl.create_default_context()
            )
            if self._secure
            else http.client.HTTPConnection(host, port, timeout=seconds)
        )
        made.response_class = self._metered  # type: ignore[assignment]
        return made

    def _metered(self, *given: Any, **named: Any) -> http.client.HTTPResponse:
        """An answer whose every byte goes through a meter, headers and trailers too."""
        answer = http.client.HTTPResponse(*given, **named)
        self._received = self.received
        self._meter = Meter(
            answer.fp.detach(), self._most + _HEADER_BYTES, self._limits, self._where
        )
        answer.fp = io.BufferedReader(self._meter)
        return answer

    def _ask(self, path: str, headers: Mapping[str, str]) -> http.client.HTTPResponse:
        # What translates addresses on the way forgets a silent connection, and tells nobody.
        if self.kept and time.monotonic() - self._used > self._limits.timeout_seconds:
            self.close()
        kept = self.kept
        self.requests += 1
        try:
            return self._send(path, headers)
        except ConnectionError:
            # A kept connection that the server has closed meanwhile says so only now.
            if not kept:
                raise
            self.close()
            return self._send(path, headers)

    def _send(self, path: str, headers: Mapping[str, str]) -> http.client.HTTPResponse:
        if not self.kept:
            try:
                self._http.connect()
            except OSError as error:
                raise unreachable(f"{type(error).__name__}: {error}", self._where) from error
        self._http.request("GET", f"{self._path}/{path}", headers={**_HEADERS, **headers})
        return self._http.getresponse()


def expect(answer: http.client.HTTPResponse, status: int, where: str) -> None:
    """See that an answer has the status that it must have.

    Raises:
        DeliveryError: U17, it has another.
    """
    if answer.status == status:
        return
    moved = answer.headers.get("Location")
    told = f", to {moved[:80]!r}: redirects are not followed" if moved else ""
    raise unreachable(f"status {answer.status}{told}", where)


def unreachable(found: str, where: str) -> DeliveryError:
    """The error for a channel that does not give what it should: U17."""
    return DeliveryError(
        "U17",
        found=f"the channel cannot be reached: {quoted(found)}",
        where=where,
        mend="see the network, and the address in the agent's configuration; the device keeps "
        "what it runs and tries again",
    )


def _uncompressed(answer: http.client.HTTPResponse, where: str) -> None:
    coding = answer.headers.get("Content-Encoding", "identity")
    if coding != "identity":
        raise DeliveryError(
            "U13",
            found=f"bomb: an answer compressed by {coding[:40]!r} that was not asked for",
            where=where,
            mend="serve the channel's files as they are, without Content-Encoding",
        )
