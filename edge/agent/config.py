"""What a device is told once: its channel, its place in the fleet, and what it may spend."""

import hashlib
import hmac
import os
import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from edge.agent.table import number, read, wrong
from firnline.contracts.places import TRACKS, plain
from firnline.errors import DeliveryError

VARIABLE = "FIRNLINE_AGENT_CONFIG"
DEFAULT = Path("/etc/firnline-agent/agent.toml")
_MACHINE_ID = Path("/etc/machine-id")
_APPLICATION = b"firnline-agent device name 1"
_MOST_BYTES = 1 << 20


@dataclass(frozen=True)
class Limits:
    """What an update may spend.

    Attributes:
        max_release_bytes: Most bytes of a release's files together.
        rate_bytes_per_second: Most bytes of parts a second; None for no ceiling.
        slow_bytes_per_second: A transfer below this rate is given up as slow retrieval.
        timeout_seconds: Longest wait for a connection, and for the next bytes of an answer.
        free_bytes: Bytes of the disk that an update leaves free.
    """

    max_release_bytes: int = number(64 << 20, 1 << 10, 4 << 30)
    rate_bytes_per_second: int | None = number(None, 1 << 10)
    slow_bytes_per_second: int = number(256, 0)
    timeout_seconds: float = number(20.0, 0.05, 3600)
    free_bytes: int = number(16 << 20, 0)


@dataclass(frozen=True)
class Health:
    """When a new release is believed.

    Attributes:
        confirm_seconds: How long the service must have run it; rows of a file take no time.
        confirm_answers: How many rows it must have answered.
        max_boots: Starts of the service before it is confirmed; one more is a crash loop.
        max_failures: Rows in a row that it fails to answer before it is given up.
        command: A program and its arguments that must end with 0; none where empty.
        command_seconds: Longest time that program may take.
        self_test_seconds: Longest time that a release's self-test may take before it is refused.
    """

    confirm_seconds: float = number(300.0, 0)
    confirm_answers: int = number(1, 0)
    max_boots: int = number(3, 1, 100)
    max_failures: int = number(5, 1)
    command: tuple[str, ...] = ()
    command_seconds: float = number(30.0, 0.1, 3600)
    self_test_seconds: float = number(120.0, 1, 3600)


@dataclass(frozen=True)
class Scores:
    """The score log.

    Attributes:
        max_bytes: Most bytes of the log; the oldest segment goes first.
        segment_bytes: A segment is closed at this size.
        batch_records: Records that are written together.
        batch_seconds: Longest time a record waits to be written.
    """

    max_bytes: int = number(16 << 20, 4 << 10)
    segment_bytes: int = number(1 << 20, 1 << 10)
    batch_records: int = number(64, 1, 65536)
    batch_seconds: float = number(5.0, 0)


@dataclass(frozen=True)
class Scoring:
    """The socket that rows come in by.

    Attributes:
        socket: Its path; None where rows come from files alone.
        line_bytes: Longest line that is read.
        connections: Most callers at once.
        idle_seconds: At that limit, a caller gives way that was neither heard nor answered for
            longer.
    """

    socket: Path | None = None
    line_bytes: int = number(1 << 18, 1 << 8, 64 << 20)
    connections: int = number(16, 1, 4096)
    idle_seconds: float = number(60.0, 0)


@dataclass(frozen=True)
class Config:
    """A device's configuration, as agent.toml holds it.

    Attributes:
        url: Address of the channel, `https://...`; TUF needs no TLS, so `http://` is let by.
        ensemble: The ensemble it runs.
        track: `canary`, `beta` or `stable`.
        target: The target it is, such as `cpu-arm64`.
        root: The channel's root of trust, given by hand: a root.json.
        state: Folder of slots, parts and trusted metadata; made when it is not there.
        device: Its name in the fleet; without one, a name made of the machine's id.
        poll_seconds: Time between two polls.
        jitter: Share of that time over which polls are spread, in [0, 1].
        offline_grace_seconds: Without a good poll for longer, `status` calls the device offline.
        features_lock: A features.lock of its own that releases are held to.
        limits: What an update may spend.
        health: When a new release is believed.
        scores: The score log.
        scoring: The socket that rows come in by.
    """

    url: str
    ensemble: str
    track: str
    target: str
    root: Path
    state: Path = Path("/var/lib/firnline-agent")
    device: str = ""
    poll_seconds: float = number(3600.0, 1)
    jitter: float = number(0.5, 0, 1)
    offline_grace_seconds: float = number(7 * 86400.0, 0, 1e10)
    features_lock: Path | None = None
    limits: Limits = field(default_factory=Limits)
    health: Health = field(default_factory=Health)
    scores: Scores = field(default_factory=Scores)
    scoring: Scoring = field(default_factory=Scoring)


def place(path: Path | None = None) -> Path:
    """Where the configuration lies, absolute.

    Args:
        path: Named by the caller; else what FIRNLINE_AGENT_CONFIG names, else `DEFAULT`.
    """
    return (path or Path(os.environ.get(VARIABLE) or DEFAULT)).absolute()


def load(path: Path | None = None) -> Config:
    """The device's configuration.

    Args:
        path: The file; see `place`.

    Raises:
        DeliveryError: U30, naming the key and the value that cannot be used.
    """
    path = place(path)
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES)
    except OSError as error:
        raise wrong(
            f"no file that can be read: {error.strerror}",
            str(path),
            f"write one with `firnline-agent init`, or name it in {VARIABLE}",
        ) from error
    return parse(content.decode("utf-8", errors="replace"), path)


def parse(text: str, path: Path) -> Config:
    """A configuration from the text of agent.toml.

    Args:
        text: TOML.
        path: Where it lies: relative paths start at its folder, and errors name it.

    Raises:
        DeliveryError: U30, naming the key and the value that cannot be used.
    """
    try:
        table = tomllib.loads(text)
    # A number of thousands of digits is a ValueError, thousands of brackets are a recursion.
    except (ValueError, RecursionError) as error:
        raise wrong(f"no TOML: {error}", str(path)) from error
    config = read(Config, {"device": "", **table}, str(path), path.parent)
    _names(config, str(path))
    _address(config.url, f"{path}, url")
    if config.scores.segment_bytes * 2 > config.scores.max_bytes:
        raise wrong("a score log of less than two segments", f"{path}, scores, max_bytes")
    return config if config.device else _named(config, f"{path}, device")


def device_name(machine_id: str) -> str:
    """A device's name, made of the machine's id, which itself stays on the machine.

    HMAC-SHA256 keyed by the id over a constant of this application, as systemd's
    `sd_id128_get_machine_app_specific` asks for (machine-id(5)); its first 128 bits.
    """
    made = hmac.new(machine_id.strip().encode(), _APPLICATION, hashlib.sha256)
    return f"device-{made.hexdigest()[:32]}"


def _named(config: Config, where: str) -> Config:
    try:
        found = _MACHINE_ID.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        found = ""
    if not found or found == "uninitialized":
        raise wrong(
            f"no name, and {_MACHINE_ID} holds none to make one of",
            where,
            "give the device a name that no other has",
        )
    return replace(config, device=device_name(found))


def _names(config: Config, where: str) -> None:
    if config.track not in TRACKS:
        raise wrong(f"{config.track!r} is none of {', '.join(TRACKS)}", f"{where}, track")
    for key in ("ensemble", "target", "device"):
        value = getattr(config, key)
        if value or key != "device":
            try:
                plain(value)
            except DeliveryError as error:
                raise wrong(f"{value!r} is no name", f"{where}, {key}", error.mend) from error


def _address(url: str, where: str) -> None:
    """An address must hold no secret: it is printed, and sent to the log."""
    try:
        parts = urlsplit(url)
        known = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        spare = parts.query or parts.fragment
    except ValueError:
        known, spare = False, ""
        parts = urlsplit("")
    # What cannot be taken apart, such as a port of six digits, may hold one all the same.
    if "@" in (parts.netloc if known else url):
        raise wrong("an address with a user or a password in it", where, "leave them out")
    if known and spare:
        raise wrong("a query or a fragment, so no address of a channel", where, "leave it out")
    if not known:
        raise wrong(
            f"{url[:80]!r} is no address of a channel", where, "such as https://host/channel"
        )
