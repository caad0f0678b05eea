"""What parses on a device whatever comes from outside, each as a function of bytes.

A harness takes an input, a header of two bytes and a document, and lets the agent's own code do
with it what it does in the field. An error of the project's own refuses it; whatever else leaves a
harness is a fault.
"""

import json
import socket
import tomllib
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from tuf.api.exceptions import DownloadHTTPError

from edge.agent.config import Limits
from edge.agent.config import parse as parse_config
from edge.agent.decide import decide
from edge.agent.fetch import Fetcher
from edge.agent.limits import check_manifest
from edge.agent.npy import array
from edge.agent.runner import Runner
from edge.agent.score_records import line
from edge.agent.scores import OPEN, ScoreLog, read, summary
from edge.agent.scoring import Scorer
from edge.agent.selftest import self_test
from edge.agent.state import Attempt, Floor, Refusal, Slot, State
from edge.agent.state import parse as parse_state
from edge.agent.state import render as render_state
from edge.disk import RealDisk
from edge.load import load
from edge.verify import parse_manifest
from firnline.contracts.facts import of_document
from firnline.contracts.firmware import BYTES, SIGNED_BYTES, Firmware
from firnline.contracts.firmware import parse_all as parse_firmware
from firnline.contracts.firmware import render as render_firmware
from firnline.contracts.places import kind, part_path
from firnline.errors import FirnlineError
from firnline.rollout.assignment import parse as parse_assignment
from firnline.rollout.assignment import render as render_assignment
from tests.edge.agent import bundles
from tests.edge.agent.channels import Channel
from tests.fuzz.inputs import HEADER, SIGNED, Harness, checked, laid_out, sealed, toml
from tests.fuzz.poll import metadata


def assignment(folder: Path) -> Harness:
    """Bytes as what a track assigns."""
    channel = Channel(folder / "public")
    made = bundles.make(folder / "bundle")
    first = channel.publish(made)
    wave = channel.publish(bundles.make(folder / "next", encoder=2), share=0.25)

    def run(data: bytes) -> None:
        found = parse_assignment(data[HEADER:], "fuzz")
        found.release_for("unit-1")
        found.share_of(made.release)
        parse_assignment(render_assignment(found), "fuzz")

    return Harness(run, [bytes(HEADER) + render_assignment(item) for item in (first, wave)])


def bundle(folder: Path) -> Harness:
    """Bytes as bundle.json: parsed, held to the offer, loaded, and its self-test run."""
    made = bundles.make(folder / "bundle")
    place = made.folder / "bundle.json"

    def run(data: bytes) -> None:
        content = sealed(data)
        document = parse_manifest(content, "fuzz")
        with suppress(FirnlineError):
            check_manifest(document, made, Limits())
        with suppress(FirnlineError):
            of_document(document.get("handshake"), "fuzz")
        place.write_bytes(content)
        load(made.folder, "device", lock=bundles.LOCK)
        self_test(made.folder)

    return Harness(run, [bytes([0, how]) + made.manifest for how in (0, SIGNED)])


_HEADERS = (
    {"descr": "<f4", "fortran_order": False, "shape": [3, 4], "bytes": 48},
    {"descr": "|b1", "fortran_order": False, "shape": [1, 1, 1, 1, 1], "bytes": 1},
    {"descr": "<i8", "fortran_order": False, "shape": [0, 999999999], "bytes": 0},
)


def npy(folder: Path) -> Harness:
    """Bytes as an array in a bundle."""
    seeds = []
    for made in (np.zeros((3, 4), np.float32), np.arange(5), np.zeros(0), np.ones(2, bool)):
        stream = BytesIO()
        np.save(stream, made, allow_pickle=False)
        seeds.append(bytes(HEADER) + stream.getvalue())

    seeds += [bytes([0, SIGNED]) + json.dumps(told).encode() for told in _HEADERS]

    def run(data: bytes) -> None:
        made = array(laid_out(data), "fuzz")
        assert made.nbytes < len(data) + (1 << 16)

    return Harness(run, seeds)


def state(folder: Path) -> Harness:
    """Bytes as the agent's state, after a power cut or a worn flash."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    slots = {"a": Slot("1" * 64, "2" * 64, True), "b": Slot("3" * 64, "4" * 64)}
    whole = State(
        slots=slots, active="a", boots=1,
        refused={"5" * 64: Refusal("stable/small@2", "U22", "so")},
        attempt=Attempt("3" * 64, "stable/small@3", 1), assigned="stable/small@3",
        floors={"stable/small": Floor(3, "7" * 64)}, clock_floor=now, polled=now,
    )  # fmt: skip

    def run(data: bytes) -> None:
        found = parse_state(sealed(data), "fuzz")
        decide(found, "5" * 64, "2" * 64, found.assigned)
        decide(found, "6" * 64, "2" * 64, found.assigned)
        again = replace(found, boots=found.boots + 1)
        assert parse_state(render_state(again), "fuzz") == again

    seeds = [
        bytes([0, how]) + render_state(made) for made in (whole, State()) for how in (0, SIGNED)
    ]
    return Harness(run, seeds)


def segment(folder: Path) -> Harness:
    """Bytes as a segment of the score log that a power cut left."""
    log = folder / "scores"
    limits = parse_config(_CONFIG, folder / "agent.toml").scores
    record = {"n": 0, "answer": "0" * 32, "request": "r", "score": 0.5, "flagged": False}
    lines = b"".join(line({**record, "n": number, "request": f"r{number}"}) for number in range(3))

    def run(data: bytes) -> None:
        content = data[HEADER:]
        if data[1:2] > b"\x7f":
            content = b"".join(checked(part) for part in content.splitlines())
        log.mkdir(exist_ok=True)
        (log / OPEN).write_bytes(content)
        found = list(read(log))
        summary(log)
        writer = ScoreLog(log, limits, RealDisk())
        writer.add({**record, "request": "another"})
        writer.flush()
        assert [item["n"] for item in read(log)][: len(found)] == [item["n"] for item in found]

    return Harness(run, [bytes([0, how]) + lines for how in (0, 255)])


def config(folder: Path) -> Harness:
    """Bytes as agent.toml."""

    def run(data: bytes) -> None:
        text = toml(data).decode(errors="replace")
        parse_config(text, folder / "agent.toml")

    tree = json.dumps(tomllib.loads(_CONFIG)).encode()
    return Harness(run, [bytes(HEADER) + _CONFIG.encode(), bytes([0, SIGNED]) + tree])


def request(folder: Path) -> Harness:
    """Bytes as a line on the socket, scored."""
    made = bundles.make(folder / "bundle")
    scorer = Scorer("unit-1", Runner(made.folder), None)
    row = bundles.rows(1)[0].tolist()
    named = dict(zip(bundles.COLUMNS, [None, *row[1:]], strict=True))
    whole = {"id": "r1", "key": "unit-1", "window_end": "2026-01-01T00:15:00Z"}

    def run(data: bytes) -> None:
        for answer in scorer.answer([data[HEADER:]]):
            json.dumps(answer).encode()

    seeds = [{**whole, "row": row}, {"row": named}, {"row": [1e30, -1e30, 0, None]}]
    return Harness(run, [bytes(HEADER) + json.dumps(seed).encode() for seed in seeds])


def answer(folder: Path) -> Harness:
    """Bytes as all that a server ever says, to who asks for metadata or for the rest of a part."""
    limits = Limits(timeout_seconds=0.5, slow_bytes_per_second=0)
    path = part_path("0" * 64)

    def run(data: bytes) -> None:
        with Fetcher("http://127.0.0.1:1", limits) as fetcher, ExitStack() as open_ones:
            http = fetcher._connection._http

            def connect() -> None:
                http.sock, theirs = map(open_ones.enter_context, socket.socketpair())
                http.sock.settimeout(limits.timeout_seconds)
                theirs.sendall(data[HEADER:][: 1 << 15])
                theirs.shutdown(socket.SHUT_WR)

            http.connect = connect
            with suppress(DownloadHTTPError):
                if data[:1] > b"\x7f":
                    assert len(b"".join(fetcher.part(path, 3, 16))) <= 16
                else:
                    assert len(fetcher.download_bytes("metadata/timestamp.json", 16)) <= 16

    heads = (
        "200 OK\r\nContent-Length: 13\r\nETag: \"a\"", "200 OK\r\nTransfer-Encoding: chunked",
        "206 Partial\r\nContent-Range: bytes 3-15/16\r\nContent-Length: 13", "304 Not Modified",
        "404 Not Found\r\nContent-Length: 13", "100 Continue", "200 OK\r\nContent-Encoding: gzip",
        "302 Found\r\nLocation: http://elsewhere.invalid/",
    )  # fmt: skip
    body = "d\r\nthirteen byte\r\n0\r\n\r\n"
    texts = [
        f"HTTP/1.1 {head}\r\n\r\n{body if 'chunked' in head else body[3:16]}" for head in heads
    ]
    return Harness(run, [bytes([how, 0]) + text.encode() for text in texts for how in (0, 255)])


def firmware(folder: Path) -> Harness:
    """Bytes as the firmware manifests of a release, one a signature."""
    told = Firmware("small", "mcu-cortex-m4", "1" * 64, 7, "2" * 64, "3" * 64, 4096, "4" * 16)

    def run(data: bytes) -> None:
        content = data[HEADER:]
        for number, found in enumerate(parse_firmware(content, "fuzz")):
            assert render_firmware(found) == content[BYTES * number :][:SIGNED_BYTES]

    one, other = (render_firmware(each) + bytes(64) for each in (told, replace(told, key="9" * 16)))
    return Harness(run, [bytes(HEADER) + content for content in (one, one + other)])


def name(folder: Path) -> Harness:
    """Bytes as a manifest with other names: whatever is let by stays in its folder."""
    made = bundles.make(folder / "bundle")
    document = made.document

    def run(data: bytes) -> None:
        text = data[HEADER:].decode("latin-1" if data[:1] > b"\x7f" else "utf-8", "replace")
        files = {text: "0" * 64}
        assigned = SimpleNamespace(ensemble="small", target=made.target, release=made.release)
        check_manifest({**document, "files": files, "bytes": {text: 1}}, assigned, Limits())
        path = (folder / "slot" / text).resolve()
        assert path.is_relative_to(folder.resolve() / "slot") and path.name
        assert kind(text)

    names = [*made.files, "target/src/a.c", "../x", "/x", "stages/../../x"]
    return Harness(run, [bytes(HEADER) + item.encode() for item in names])


HARNESSES: dict[str, Callable[[Path], Harness]] = {
    made.__name__: made
    for made in (
        metadata, bundle, assignment, state, npy, segment, config, request, answer, firmware,
        name,
    )
}  # fmt: skip
"""Name -> what makes the harness in a folder of its own."""

_CONFIG = """
url = "https://example.org/channel"
ensemble = "small"
track = "stable"
target = "cpu-x86_64"
root = "root.json"
device = "unit-1"
poll_seconds = 60
[limits]
rate_bytes_per_second = 4096
timeout_seconds = 2.5
[health]
command = ["/bin/true"]
[scores]
batch_records = 1
[scoring]
socket = "s.sock"
"""
