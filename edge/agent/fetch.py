"""What a device fetches: metadata for TUF, and parts from where a download broke off."""

import http.client
import re
from collections import deque
from collections.abc import Iterator
from types import TracebackType

from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient import FetcherInterface

from edge.agent.config import Limits
from edge.agent.connection import ABSENT, Connection, expect, unreachable
from edge.agent.limits import MOST_DOCUMENT_BYTES
from firnline.contracts.places import METADATA, PARTS
from firnline.errors import DeliveryError

_TAG = re.compile(r'(W/)?"[\x21\x23-\x7e]{1,120}"')
_REMEMBERED = f"{METADATA}/timestamp.json"


class Fetcher(FetcherInterface):
    """The way to one channel; keep one for as long as the agent runs.

    Args:
        base_url: Address of the channel, `https://host/path`; plain `http` as well.
        limits: What an answer may take.

    Attributes:
        last: Path and content of the metadata that came last, to explain why they were refused.
    """

    def __init__(self, base_url: str, limits: Limits) -> None:
        self.last: tuple[str, bytes] = ("", b"")
        self._connection = Connection(base_url, limits)
        self._known: dict[str, tuple[str, bytes]] = {}

    @property
    def requests(self) -> int:
        """How many were sent."""
        return self._connection.requests

    @property
    def received(self) -> int:
        """Bytes that came back, with headers."""
        return self._connection.received

    def download_bytes(self, url: str, max_length: int) -> bytes:
        """A small document whole.

        Args:
            url: Its path in the channel.
            max_length: Most bytes it may have; never more than a document's, whatever other
                metadata announce, since one stolen online key may sign any length there.

        Raises:
            DownloadHTTPError: 403 or 404, by which TUF learns that there is no newer root.
            DeliveryError: U9 it is longer, U10 it comes too slowly, U13 it is compressed, U17 it
                does not come.
        """
        most = min(max_length, MOST_DOCUMENT_BYTES)
        known = self._known.get(url)
        asked = {"If-None-Match": known[0]} if known else {}
        self.last = (url, b"")
        with self._connection.get(url, most, asked) as answer:
            if answer.status == http.client.NOT_MODIFIED and known:
                answer.read()
                content = known[1]
            elif answer.status in ABSENT:
                deque(self._connection.body(answer, most), maxlen=0)
            else:
                expect(answer, http.client.OK, self._connection.address(url))
                content = b"".join(self._connection.body(answer, most))
                tag = answer.headers.get("ETag", "")
                if url == _REMEMBERED and _TAG.fullmatch(tag):
                    self._known[url] = (tag, content)
        if answer.status in ABSENT:
            told = f"{answer.status} for {self._connection.address(url)}"
            raise DownloadHTTPError(told, answer.status)
        self.last = (url, content)
        return content

    def part(self, path: str, offset: int, length: int) -> Iterator[bytes]:
        """A part's bytes from an offset on, a chunk at a time.

        A server that knows no ranges sends all, and what is there already is skipped.

        Args:
            path: Below `parts/`, as `places.part_path` makes it.
            offset: First byte that is wanted, below `length`.
            length: Bytes of the whole part.

        Raises:
            DeliveryError: U1 it is not as long as signed, U9 it is longer, U10 it comes too
                slowly, U13 it is compressed, U17 it does not come.
        """
        place = f"{PARTS}/{path}"
        where = self._connection.address(place)
        asked = {"Range": f"bytes={offset}-{length - 1}"} if offset else {}
        with self._connection.get(place, length, asked) as answer:
            if answer.status == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and offset:
                raise arbitrary(f"it has less than the {length:,} bytes signed", where)
            if answer.status == http.client.PARTIAL_CONTENT and offset:
                given = answer.headers.get("Content-Range", "")
                if not given.startswith(f"bytes {offset}-"):
                    raise unreachable(f"another range than asked for: {given[:60]!r}", where)
                yield from self._connection.body(answer, length - offset)
            else:
                expect(answer, http.client.OK, where)
                yield from _from(offset, self._connection.body(answer, length))

    def forget(self) -> None:
        """Ask for everything anew: what came last was not good."""
        self._known.clear()

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        self._connection.close()

    def __enter__(self) -> "Fetcher":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _fetch(self, url: str) -> Iterator[bytes]:
        """What tuf would call for a target; the agent reads targets by `download_bytes`."""
        return iter((self.download_bytes(url, MOST_DOCUMENT_BYTES),))


def arbitrary(found: str, where: str) -> DeliveryError:
    """The error for content that nobody signed: U1."""
    return DeliveryError(
        "U1",
        found=f"arbitrary software: {found}",
        where=where,
        mend="see who answers for the channel, or publish again; what came is thrown away",
    )


def _from(offset: int, chunks: Iterator[bytes]) -> Iterator[bytes]:
    """What comes after so many bytes."""
    for chunk in chunks:
        if offset < len(chunk):
            yield chunk[offset:]
        offset = max(0, offset - len(chunk))
