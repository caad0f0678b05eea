"""A page's shell blocks, run line by line: our own programs in this process, which is quick."""

import io
import os
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

from edge.agent import cli as agent
from firnline import wiring
from tests.docs.pages import ROOT_COMMAND, shell_lines
from tests.resources.project import Project

PASSPHRASE = {"FIRNLINE_CHANNEL_PASSPHRASE": "correct horse battery staple"}
_SECONDS = 60


class Shell:
    """A folder in which a page is followed.

    Args:
        folder: The project.
        told: What the page calls by a name of its own -> what it is here.
        run: What `firnline run NAME` does here, where the real one would take too long.
    """

    def __init__(
        self, folder: Path, told: Mapping[str, str] | None = None, run: Callable[[], None] = id
    ) -> None:
        self.project = Project(folder, dict(PASSPHRASE))
        self.told = dict(told or {})
        self.output: list[str] = []
        self._run = run
        self._servers: list[subprocess.Popen[str]] = []

    def follow(self, text: str) -> int:
        """Run every line of every `sh` block of a text; each must end well.

        Returns:
            How many there were.
        """
        lines = list(shell_lines(text, "sh"))
        for line in lines:
            self._line(self._named(line))
        return len(lines)

    def firnline(self, *words: str) -> str:
        """One command of ours, and what it printed."""
        with self._captured() as output:
            try:
                code = ROOT_COMMAND.main(list(words), "firnline", standalone_mode=False)
            except SystemExit as ended:
                code = ended.code
        return self._good(words, code, output.getvalue())

    def agent(self, *words: str) -> str:
        """One command of a device's agent, and what it printed."""
        with self._captured() as output:
            code = agent.main(words)
        return self._good(words, code, output.getvalue())

    def end(self) -> None:
        """End what runs in the background."""
        for server in self._servers:
            server.terminate()
            server.communicate(timeout=_SECONDS)

    def _named(self, line: str) -> str:
        for name, here in self.told.items():
            line = line.replace(name, here)
        return line

    def _line(self, line: str) -> None:
        words = shlex.split(line, comments=True)
        program, rest = words[0], words[1:]
        if rest[-1:] == ["&"]:
            self._serve(*rest[:-1])
        elif words[:2] == ["firnline", "run"]:
            self._run()
        elif program == "firnline":
            self.firnline(*rest)
        elif program == "firnline-agent":
            self.agent(*rest)
        elif program == "export":
            os.environ.update([tuple(rest[0].split("=", 1))])
        else:
            done = subprocess.run(
                ["sh", "-ec", line], cwd=self.project.folder, capture_output=True, text=True,
                timeout=_SECONDS, check=False,
            )  # fmt: skip
            self._good(words, done.returncode, done.stdout + done.stderr)

    def _serve(self, *words: str) -> None:
        """Serve in the background, on a free port: another test may hold the one of the page."""
        server = self.project.start(*words, "--port", "0")
        self._servers.append(server)
        assert server.stdout is not None
        (self.told["http://127.0.0.1:8765"],) = re.findall(r"http://\S+", server.stdout.readline())

    def _good(self, words: tuple[str, ...] | list[str], code: object, output: str) -> str:
        self.output.append(output)
        assert not code, f"{' '.join(words)}\n{output}"
        return output

    @contextmanager
    def _captured(self) -> Iterator[io.StringIO]:
        output = io.StringIO()
        with redirect_stdout(output), redirect_stderr(output):
            yield output


@contextmanager
def shell(folder: Path, **options: object) -> Iterator[Shell]:
    """A shell in a project, with its passphrase at hand; the process is as before afterwards."""
    before, place = dict(os.environ), Path.cwd()
    own = {"FIRNLINE_PROJECT": str(folder), "FIRNLINE_HOME": ".firnline"}
    os.environ.update(own, **PASSPHRASE, COLUMNS="200")
    os.chdir(folder)
    wiring.settings.cache_clear()
    made = Shell(folder, **options)  # type: ignore[arg-type]
    try:
        yield made
    finally:
        made.end()
        os.chdir(place)
        os.environ.clear()
        os.environ.update(before)
        wiring.settings.cache_clear()
