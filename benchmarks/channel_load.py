"""Ten thousand devices at one channel: ``make bench-channel``, into results/channel.json.

Every device is a coroutine that polls as an agent with nothing to do does: the next root, which is
not there, and the timestamp, which has not changed; over one connection it opens for the poll. The
server has one core and the devices the other, so a figure is of one core. A latency is what a
device waits from the last byte of its request to the last of the answer's head; the connection's
own time is beside it. In the same run the same devices ask a named peer for the same files: nginx
with one worker where it is installed, else Python's own `http.server`. At last every device asks
at once, as a fleet does when the power returns.
"""

import argparse
import asyncio
import json
import os
import platform
import random
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil

RESULTS = Path(__file__).parent / "results" / "channel.json"
MOST_P99_MS, MOST_POLL_BYTES = 50.0, 1024
_TIMESTAMP, _NEXT_ROOT = "/metadata/timestamp.json", "/metadata/2.root.json"
_OURS = """
import sys
from pathlib import Path
from edge.channel.serve import serve
serve(Path(sys.argv[1]), port=int(sys.argv[2]))
"""
_PYTHON = """
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
SimpleHTTPRequestHandler.protocol_version = "HTTP/1.1"
SimpleHTTPRequestHandler.log_message = lambda *_: None
ThreadingHTTPServer.request_queue_size = 4096
handler = partial(SimpleHTTPRequestHandler, directory=sys.argv[1])
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), handler).serve_forever()
"""
_NGINX = """
{user} worker_processes 1; worker_rlimit_nofile 20000; daemon off; pid {folder}/pid;
error_log stderr crit;
events {{ worker_connections 19000; }}
http {{
  access_log off; server_tokens off; open_file_cache max=1000; sendfile on; keepalive_timeout 15s;
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{ listen 127.0.0.1:{port} backlog=4096; root {public}; }}
}}
"""

Command = Callable[[int], list[str]]
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass
class Measured:
    """What the devices saw.

    Attributes:
        answers: Seconds to an answer, one a request.
        connects: Seconds to a connection, one a poll.
        errors: What went wrong, by name, with how often.
        sent: Bytes of all requests.
        received: Bytes of all answers.
    """

    answers: list[float] = field(default_factory=list)
    connects: list[float] = field(default_factory=list)
    errors: dict[str, int] = field(default_factory=dict)
    sent: int = 0
    received: int = 0


def main() -> None:
    """Measure, print a line a server, write them all; exit 1 when a figure is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--agents", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--poll", type=float, default=60.0, help="seconds between two polls")
    parser.add_argument("--nginx", default=shutil.which("nginx"), help="the peer's program")
    parser.add_argument("--out", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[-1:])
    with tempfile.TemporaryDirectory() as folder:
        public = _channel(Path(folder))
        servers = (("firnline channel serve", _ours(public)),)
        rows = [
            _measured(name, command, cores[0], chosen)
            for name, command in (*servers, _peer(chosen.nginx, Path(folder), public))
        ]
    document = {
        "agents": chosen.agents,
        "poll_seconds": chosen.poll,
        "seconds": chosen.seconds,
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {len(cores)} cores",
        "servers": rows,
    }
    chosen.out.parent.mkdir(exist_ok=True)
    partial = chosen.out.with_suffix(".partial")
    partial.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    partial.rename(chosen.out)
    ours = rows[0]
    met = ours["answer_ms"]["p99"] < MOST_P99_MS and ours["poll_bytes"] <= MOST_POLL_BYTES
    sys.exit(0 if met and not (ours["errors"] or ours["storm"]["errors"]) else 1)


def _channel(folder: Path) -> Path:
    """A channel's metadata of the usual sizes; devices with nothing to do read nothing else."""
    metadata = folder / "public" / "metadata"
    metadata.mkdir(parents=True)
    (metadata / "1.root.json").write_bytes(b"{" + bytes(6000).replace(b"\0", b" ") + b"}")
    (metadata / "timestamp.json").write_bytes(b"{" + bytes(430).replace(b"\0", b" ") + b"}")
    return folder / "public"


def _ours(public: Path) -> Command:
    return lambda port: [sys.executable, "-c", _OURS, str(public), str(port)]


def _peer(nginx: str | None, folder: Path, public: Path) -> tuple[str, Command]:
    """The peer's name, and its command for a port."""
    if nginx is None:
        return "python http.server", lambda port: [
            *(sys.executable, "-c", _PYTHON, str(public), str(port))
        ]
    # Started by root, its worker would be nobody, who cannot read the folder.
    user = "user root;" if os.getuid() == 0 else ""

    def command(port: int) -> list[str]:
        config = folder / "nginx.conf"
        text = _NGINX.format(folder=folder, public=public, port=port, user=user)
        config.write_text(text, encoding="utf-8")
        return [nginx, "-c", str(config), "-e", "stderr"]

    told = subprocess.run([nginx, "-v"], capture_output=True, text=True, check=True).stderr
    return told.rpartition(" ")[2].strip(), command


def _measured(name: str, command: Command, core: int, chosen: argparse.Namespace) -> dict[str, Any]:
    with _running(command, core) as (server, port):
        before = _cpu(server)
        found = asyncio.run(_fleet(port, chosen.agents, chosen.poll, chosen.seconds))
        spent = _cpu(server) - before
        storm = asyncio.run(_fleet(port, chosen.agents, 0.0, 0.0))
        memory = sum(process.memory_info().rss for process in _family(server))
    polls = len(found.answers) / 2
    row = {
        "server": name,
        "polls": int(polls),
        "requests_a_second": round(len(found.answers) / chosen.seconds, 1),
        "errors": found.errors,
        "answer_ms": _quantiles(found.answers),
        "connect_ms": _quantiles(found.connects),
        "poll_bytes": round((found.sent + found.received) / polls),
        "core_share": round(spent / chosen.seconds, 4),
        "cpu_ms_a_poll": round(1000 * spent / polls, 3),
        "memory_mb": round(memory / 1e6, 1),
        "storm": {"errors": storm.errors, "answer_ms": _quantiles(storm.answers)},
    }
    print(
        f"{name}: p50 {row['answer_ms']['p50']} ms, p99 {row['answer_ms']['p99']} ms, "
        f"{sum(found.errors.values())} errors in {row['polls']:,} polls of {row['poll_bytes']} "
        f"bytes, {100 * row['core_share']:.1f} % of a core; all at once: p99 "
        f"{row['storm']['answer_ms']['p99']} ms, {sum(storm.errors.values())} errors",
        flush=True,
    )
    return row


@contextmanager
def _running(command: Command, core: int) -> Iterator[tuple[psutil.Process, int]]:
    """A server on one core and a free port, once it answers."""
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        port = asked.getsockname()[1]
    # A process begins on the core its parent is on.
    own = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    server = subprocess.Popen(command(port))
    os.sched_setaffinity(0, own)
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                if server.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
        yield psutil.Process(server.pid), port
    finally:
        server.terminate()
        server.wait(30)


async def _fleet(port: int, agents: int, poll: float, seconds: float) -> Measured:
    """All devices, each first at a random time within one poll, then jittered by a quarter."""
    found, drawn = Measured(), random.Random(42)  # noqa: S311
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds

    async def agent() -> None:
        due = loop.time() + drawn.uniform(0, poll)
        while due < end or not poll:
            await asyncio.sleep(due - loop.time())
            try:
                await _poll(port, found)
            except (OSError, ValueError, EOFError, KeyError) as error:
                name = f"{type(error).__name__}: {str(error)[:80]}"
                found.errors[name] = found.errors.get(name, 0) + 1
            if not poll:
                return
            due += poll * drawn.uniform(0.75, 1.25)

    await asyncio.gather(*(agent() for _ in range(agents)))
    return found


_TAGS: dict[int, str] = {}


async def _poll(port: int, found: Measured) -> None:
    """One poll; a device knows the timestamp's tag from the one before."""
    connection: Connection | None = None
    try:
        async with asyncio.timeout(30):
            for path, allowed in ((_NEXT_ROOT, {404}), (_TIMESTAMP, {200, 304})):
                if connection is None:
                    began = time.perf_counter()
                    connection = await asyncio.open_connection("127.0.0.1", port)
                    found.connects.append(time.perf_counter() - began)
                if not await _ask(connection, port, path, allowed, found):
                    connection[1].close()
                    connection = None
    finally:
        if connection is not None:
            connection[1].close()


async def _ask(
    connection: Connection, port: int, path: str, allowed: set[int], found: Measured
) -> bool:
    """One request and its answer; whether the connection can be used again."""
    reader, writer = connection
    known = f"If-None-Match: {_TAGS[port]}\r\n" if path == _TIMESTAMP and port in _TAGS else ""
    request = (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept-Encoding: identity\r\n"
        f"User-Agent: firnline-agent\r\n{known}\r\n"
    ).encode()
    began = time.perf_counter()
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    found.answers.append(time.perf_counter() - began)
    lines = head.decode("latin-1").split("\r\n")
    status = int(lines[0].split(" ")[1])
    fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    body = await reader.readexactly(0 if status == 304 else int(fields["content-length"]))
    found.sent += len(request)
    found.received += len(head) + len(body)
    if status not in allowed:
        raise ValueError(f"status {status} for {path}")
    if path == _TIMESTAMP and status == 200 and "etag" in fields:
        _TAGS[port] = fields["etag"]
    return fields.get("connection") != "close"


def _family(server: psutil.Process) -> list[psutil.Process]:
    return [server, *server.children(recursive=True)]


def _cpu(server: psutil.Process) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in _family(server))


def _quantiles(seconds: list[float]) -> dict[str, float]:
    found = np.quantile(np.array(seconds or [0.0]) * 1000, [0.5, 0.99, 0.999, 1.0])
    return dict(zip(("p50", "p99", "p999", "max"), np.round(found, 2).tolist(), strict=True))


if __name__ == "__main__":
    main()
