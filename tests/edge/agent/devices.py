"""A device of a small channel: its configuration, and its agent as a real process."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.agent.config import Config, load
from edge.agent.fetch import Fetcher
from edge.agent.selftest import self_test
from edge.agent.update import Outcome, update
from edge.disk import RealDisk

TREE = Path(__file__).parents[3]
PATIENCE_SECONDS = 30.0


@dataclass(frozen=True)
class Device:
    """A device that is configured.

    Attributes:
        config_file: Its agent.toml.
        socket: Where its service answers rows.
        program: How its agent is started.
        tree: Where from.
    """

    config_file: Path
    socket: Path
    program: Sequence[str] = (sys.executable, "-m", "edge.agent")
    tree: Path = TREE

    @property
    def config(self) -> Config:
        """Its configuration."""
        return load(self.config_file)

    def agent(self, *arguments: str, rows: str = "") -> subprocess.CompletedProcess[str]:
        """One command of its agent, until it ends."""
        return subprocess.run(
            [*self.program, *arguments, "--config", str(self.config_file)],
            cwd=self.tree, input=rows, capture_output=True, text=True, timeout=PATIENCE_SECONDS,
        )  # fmt: skip

    def told(self, *arguments: str, rows: str = "") -> dict[str, Any]:
        """What a command says as JSON."""
        return dict(json.loads(self.agent(*arguments, "--json", rows=rows).stdout))

    def pull(self) -> Outcome:
        """What `pull` does, in this process."""
        with Fetcher(self.config.url, self.config.limits) as fetcher:
            return update(self.config, RealDisk(), fetcher, self_test)

    @contextmanager
    def service(self, **environment: str) -> Iterator["subprocess.Popen[str]"]:
        """Its service, until the block ends; SIGTERM ends it then, with code 0."""
        process = subprocess.Popen(
            [*self.program, "run", "--config", str(self.config_file)],
            cwd=self.tree, env={**os.environ, **environment}, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            until(lambda: self.socket.exists() or process.poll() is not None)
            yield process
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE_SECONDS) == 0
        finally:
            process.kill()
            process.communicate()

    @contextmanager
    def caller(self) -> Iterator[Callable[..., dict[str, Any]]]:
        """A caller on its socket: gives lines, or none, and gets an answer."""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PATIENCE_SECONDS)
            client.connect(str(self.socket))
            with client.makefile("r") as answers:

                def ask(*lines: str) -> dict[str, Any]:
                    if lines:
                        client.sendall("".join(f"{line}\n" for line in lines).encode())
                    return dict(json.loads(answers.readline()))

                yield ask


def device(folder: Path, url: str, root: bytes, ensemble: str, target: str, **more: str) -> Device:
    """A device that is configured and holds nothing yet.

    Args:
        folder: Of all it has.
        url: Of its channel.
        root: The channel's root.json.
        ensemble: What it runs.
        target: What it is.
        more: Further keys, `table_key` for one of a table, as TOML.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "root.json").write_bytes(root)
    path = folder / "s.sock"
    tables = {"scoring": [f'socket = "{path}"'], "scores": ["batch_records = 1"], "health": []}
    for name, value in more.items():
        table, _, key = name.partition("_")
        tables[table].append(f"{key} = {value}")
    lines = [
        f'url = "{url}"', f'ensemble = "{ensemble}"', 'track = "stable"', f'target = "{target}"',
        'root = "root.json"', 'state = "state"', 'device = "unit-1"',
    ]  # fmt: skip
    for table, keys in tables.items():
        lines += [f"[{table}]", *keys]
    (folder / "agent.toml").write_text("\n".join(lines))
    return Device(folder / "agent.toml", path)


def until(happened: Callable[[], Any]) -> None:
    """Wait for something, as long as is sensible."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not happened():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.02)
