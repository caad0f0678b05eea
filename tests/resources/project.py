"""A user's project folder, and the command line run in it as a user would."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
COMMAND = Path(sys.executable).with_name("firnline")
RUN_SECONDS = 600


@dataclass(frozen=True)
class Project:
    """A folder to run `firnline` in.

    Attributes:
        folder: The project folder; its state is below it.
        environment: Beside PATH and HOME.
        prefix: Put before every command.
    """

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    prefix: tuple[str, ...] = ()

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        """Start a command in a session of its own."""
        return subprocess.Popen(
            [*self.prefix, str(COMMAND), *arguments],
            cwd=self.folder,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run a command to its end."""
        process = self.start(*arguments)
        out, err = process.communicate(timeout=RUN_SECONDS)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def json(self, *arguments: str) -> dict[str, Any]:
        """The document a command prints; it must succeed."""
        done = self.run(*arguments, "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    def kill_at(self, step: str, *arguments: str, after_seconds: float = 0.0) -> list[str]:
        """Start a run, and kill it with SIGKILL once a step has begun; what it said by then."""
        process = self.start(*arguments)
        said: list[str] = []
        assert process.stderr is not None
        for line in process.stderr:
            said.append(line)
            if line.split()[:2] == ["start", step]:
                time.sleep(after_seconds)
                break
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL, "".join(said)
        return said

    def _environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        return {**kept, "HOME": str(home), "COLUMNS": "200", **self.environment}


def released_for(folder: Path, *targets: str) -> None:
    """Give a project the refrigeration ensemble as its own, released for these targets alone."""
    own = folder / "refrigeration"
    own.mkdir()
    for path in (ROOT / "models" / "refrigeration").glob("*.toml"):
        text = path.read_text(encoding="utf-8")
        if path.name == "ensemble.toml":
            text, changed = re.subn(r"(?m)^targets = .*$", f"targets = {json.dumps(targets)}", text)
            assert changed == 1
        (own / path.name).write_text(text, encoding="utf-8")


def cut_off(folder: Path) -> tuple[tuple[str, ...], dict[str, str], Path]:
    """How to run without a network: a command's prefix, its environment, and the calls file.

    The socket guard is always there; a network namespace is added where the system allows it.
    """
    calls = folder / "calls.txt"
    calls.touch()
    environment = {
        "FIRNLINE_TEST_CALLS": str(calls),
        "PYTHONPATH": str(ROOT / "tests" / "resources" / "guard"),
    }
    prefix: Sequence[str] = ()
    unshare = shutil.which("unshare")
    if unshare:
        for flags in (("--net",), ("--net", "--map-root-user")):
            trial = subprocess.run([unshare, *flags, "true"], capture_output=True, check=False)
            if trial.returncode == 0:
                inside = str(ROOT / "tests" / "resources" / "cut_off.py")
                prefix = (unshare, *flags, sys.executable, inside)
                break
    return tuple(prefix), environment, calls
