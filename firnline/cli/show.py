"""What people see: tables, errors and the progress of a run. Machines get `--json`."""

import json
import sys
from typing import Any

from rich.console import Console
from rich.panel import Panel
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from firnline.errors import FirnlineError


def screen() -> Console:
    """The console for results."""
    return Console(highlight=False)


def aside() -> Console:
    """The console for progress and errors, so that results can be piped."""
    return Console(stderr=True, highlight=False)


def print_json(document: Any) -> None:
    """One document, and nothing else, on standard output."""
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
    # Half a surrogate, as of a path that is no UTF-8, has no bytes but its JSON escape.
    sys.stdout.write(text.encode(errors="backslashreplace").decode() + "\n")


def plain(text: object) -> str:
    """A text from outside as it may be shown: no control characters that a terminal would obey."""
    return "".join(
        letter if letter.isprintable() or letter == "\n" else "?" for letter in str(text)
    )


def show_error(error: FirnlineError, step: str | None = None) -> None:
    """An error as a panel: what, where, mend."""
    body = Text.assemble(
        ("found  ", "bold"), plain(error.found), "\n",
        ("where  ", "bold"), plain(error.where), "\n",
        ("mend   ", "bold"), plain(error.mend),
    )  # fmt: skip
    title = f"{type(error).__name__} {error.code}"
    aside().print(
        Panel(body, title=f"{step} failed: {title}" if step else title, border_style="red")
    )


class RunProgress:
    """Progress lines of a run on standard error; quiet lines when that is not a terminal."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.step: str | None = None
        self._console = Console(stderr=True, highlight=False, quiet=quiet)
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.fields[step]:<9}"),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
            disable=quiet or not self._console.is_terminal,
        )
        self._task = self._bar.add_task("", step="", total=None, visible=False)

    def __enter__(self) -> "RunProgress":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def start(self, step: str, doing: str) -> None:
        """A step begins."""
        if step != self.step and not self._console.is_terminal:
            self._console.print(f"start  {step:<9} {doing}", soft_wrap=True)
        self.step = step
        self._bar.reset(self._task, description=doing, step=step, total=None, visible=True)

    def advance(self, done: int, total: int) -> None:
        """The running step is so far."""
        self._bar.update(self._task, completed=done, total=total)

    def end(self, step: str, summary: str, *, reused: bool, seconds: float) -> None:
        """A step is whole."""
        self._bar.update(self._task, visible=False)
        mark = "[cyan]reused[/cyan]" if reused else "[green]done  [/green]"
        self._console.print(
            f"{mark} {step:<9} {summary} [dim]({seconds:.1f} s)[/dim]", soft_wrap=True
        )
