"""`channel serve`: the public folder of a channel over HTTP, for devices on this machine.

Plain GET as RFC 9110 has it: entity tags, conditional requests and single ranges. Any web server
or bucket does the same with the same folder; this one needs nothing beside the platform. TUF needs
no TLS for its security, but who can listen sees which device asks for what, so it listens on
loopback unless told otherwise.

On one core aiohttp answers 9,700 polls' requests a second, a bare asyncio protocol 21,000; 10,000
devices that poll once a minute ask 333, so the well-kept parser is worth its price.
"""

import asyncio
import ipaddress
import logging
import resource
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_exceptions import HttpProcessingError

from edge.channel.public_files import Found, PublicFiles
from firnline.contracts.places import METADATA
from firnline.errors import DeliveryError

_FOREVER = "public, max-age=31536000, immutable"
_ASK_AGAIN = "no-cache"


@dataclass(frozen=True)
class Patience:
    """How long a client may keep what it holds.

    Attributes:
        idle_seconds: From a connection's beginning, or its last answer, to the end of the next
            request's head.
        stalled_seconds: Between two acknowledgements of bytes that were sent.
        least_bytes_per_second: A file is cut off when it is taken more slowly, beyond
            `stalled_seconds`.
        ending_seconds: For answers under way when the server is told to end.
        head_bytes: Of a request's line, and of each of its header fields.
        fields: Header fields of a request.
    """

    idle_seconds: float = 15.0
    stalled_seconds: float = 30.0
    least_bytes_per_second: int = 1024
    ending_seconds: float = 5.0
    head_bytes: int = 2048
    fields: int = 32


def serve(
    public: Path,
    host: str = "127.0.0.1",
    port: int = 8765,
    *,
    exposed: bool = False,
    patience: Patience | None = None,
    ready: Callable[[str], None] | None = None,
) -> None:
    """Serve a channel until SIGTERM or SIGINT; answers under way are finished.

    Args:
        public: The public folder of a channel.
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.
        exposed: Allow an address that other machines reach.
        patience: With slow clients.
        ready: Called with the server's address once it listens.

    Raises:
        DeliveryError: V30 no channel lies there, V31 others would reach it, V32 it cannot listen.
    """
    if not (public / METADATA / "timestamp.json").is_file():
        raise DeliveryError(
            "V30",
            found="no metadata/timestamp.json, so nothing was ever published here",
            where=str(public),
            mend="give the channel's public folder, or make one with `firnline channel init`",
        )
    if not (exposed or is_loopback(host)):
        raise DeliveryError(
            "V31",
            found=f"{host} can be reached by other machines, and there is no TLS",
            where="channel serve --host",
            mend="leave --host out, put a web server with TLS before it, or say --exposed",
        )
    asyncio.run(_serve(public, host, port, patience or Patience(), ready))


def is_loopback(host: str) -> bool:
    """Whether an address is of this machine alone; a name other than `localhost` is not."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def application(files: PublicFiles, patience: Patience) -> web.Application:
    """The server's one rule: GET or HEAD of a file of the channel."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.method not in {"GET", "HEAD"}:
            return _closing(web.Response(status=405, headers={"Allow": "GET, HEAD"}))
        if request.can_read_body:
            return _closing(web.Response(status=413))
        found = files.find(request.raw_path)
        if found is None:
            return web.Response(status=404, headers={"Cache-Control": _ASK_AGAIN})
        if found.body is None:
            return _Large(found, patience)
        return _from_memory(request, found, found.body)

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    application.on_response_prepare.append(_plain_headers)
    return application


async def _plain_headers(_: web.BaseRequest, response: web.StreamResponse) -> None:
    """An idle poll is two answers, so what says nothing is left out."""
    response.headers.popall("Server", None)


def _closing(response: web.Response) -> web.Response:
    response.force_close()
    return response


def _from_memory(request: web.Request, found: Found, body: bytes) -> web.Response:
    """A small file, a part of it, or that it has not changed."""
    headers = {"ETag": f'"{found.etag}"', "Cache-Control": _holds(found)}
    tags = request.if_none_match
    if tags is not None and any(tag.value in {found.etag, "*"} for tag in tags):
        return web.Response(status=304, headers=headers)
    headers["Content-Type"] = "application/json" if body[:1] == b"{" else "application/octet-stream"
    wanted = request.headers.get("Range")
    unchanged = request.headers.get("If-Range") in {None, headers["ETag"]}
    if wanted is None or not unchanged:
        return web.Response(body=body, headers=headers)
    try:
        chosen = request.http_range
    except ValueError:
        # RFC 9110, 14.2: a range that is not understood counts as none.
        return web.Response(body=body, headers=headers)
    start, end, _ = chosen.indices(len(body))
    if start >= end:
        headers["Content-Range"] = f"bytes */{len(body)}"
        return web.Response(status=416, headers=headers)
    headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(body)}"
    return web.Response(status=206, body=body[start:end], headers=headers)


class _Large(web.FileResponse):
    """A large file by sendfile, cut off when it is taken too slowly."""

    def __init__(self, found: Found, patience: Patience) -> None:
        super().__init__(found.path, headers={"Cache-Control": _holds(found)})
        least = found.path.stat().st_size / patience.least_bytes_per_second
        self._most_seconds = patience.stalled_seconds + least

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        try:
            async with asyncio.timeout(self._most_seconds):
                return await super().prepare(request)
        except TimeoutError as error:
            if request.transport is not None:
                # Closing would wait until the client has taken what is in the buffers.
                request.transport.abort()
            raise ConnectionResetError("the file was taken too slowly") from error


def _holds(found: Found) -> str:
    return _FOREVER if found.immutable else _ASK_AGAIN


def _is_ours(record: logging.LogRecord) -> bool:
    """Whether a log record is about the server; anyone can send what is no HTTP, and fill a log."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


async def _serve(
    public: Path, host: str, port: int, patience: Patience, ready: Callable[[str], None] | None
) -> None:
    _allow_connections()
    logger = logging.getLogger(__name__)
    logger.addFilter(_is_ours)
    runner = web.AppRunner(
        application(PublicFiles(public), patience),
        access_log=None,
        logger=logger,
        keepalive_timeout=patience.idle_seconds,
        shutdown_timeout=patience.ending_seconds,
        max_line_size=patience.head_bytes,
        max_field_size=patience.head_bytes,
        max_headers=patience.fields,
        lingering_time=0.0,
        auto_decompress=False,
    )
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    await runner.setup()
    try:
        await web.SockSite(runner, _listening(host, port, patience), backlog=4096).start()
        if ready is not None:
            address, bound = runner.addresses[0][:2]
            ready(f"http://{f'[{address}]' if ':' in address else address}:{bound}")
        await ended.wait()
    finally:
        await runner.cleanup()


def _listening(host: str, port: int, patience: Patience) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            # RFC 5482: a client that takes no more bytes is dropped by the kernel.
            milliseconds = int(patience.stalled_seconds * 1000)
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
            listening.bind(address)
        except OSError:
            listening.close()
            raise
    except OSError as error:
        raise DeliveryError(
            "V32",
            found=f"it cannot listen: {error.strerror or error}",
            where=f"{host} port {port}",
            mend="choose another with --port (0 takes a free one) or --host",
        ) from error
    return listening


def _allow_connections() -> None:
    """As many open connections as the system lets a process have without asking."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
