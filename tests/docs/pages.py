"""Reading the pages: tables, fenced blocks, headings."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main

from edge.agent.cli import _parser as agent_parser
from firnline.cli.app import app

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
ROOT_COMMAND: Any = typer.main.get_command(app)
TREES = ("firnline", "flows", "models", "edge", "feature_repo")


def pages() -> list[Path]:
    """Every page of the project."""
    inside = [path for tree in ("docs", "models") for path in (ROOT / tree).rglob("*.md")]
    own = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "edge/agent/README.md"]
    return sorted([*own, *inside])


def sources() -> list[Path]:
    """Every Python file of the five trees."""
    return sorted(path for tree in TREES for path in (ROOT / tree).rglob("*.py"))


def name_of(path: Path) -> str:
    """A path below the project, for messages and test ids."""
    return path.relative_to(ROOT).as_posix()


def tables(text: str) -> list[list[list[str]]]:
    """Every table of a page as rows of cells, the header first, the rule left out."""
    found: list[list[list[str]]] = []
    inside = False
    for line in text.splitlines():
        if not line.startswith("|"):
            inside = False
            continue
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if not inside:
            found.append([cells])
        elif not all(re.fullmatch(r":?-+:?", cell) for cell in cells):
            found[-1].append(cells)
        inside = True
    return found


def section(text: str, heading: str) -> str:
    """A page from one heading of the second level to the next."""
    body = text.partition(f"\n## {heading}\n")[2]
    assert body, f"no section {heading!r}"
    return body.partition("\n## ")[0]


def codes(cell: str) -> list[str]:
    """What stands in backticks."""
    return re.findall(r"`([^`]+)`", cell)


def shell_lines(text: str, *languages: str) -> Iterator[str]:
    """Every line of the page's shell blocks, those that a backslash continues as one."""
    for language, block in re.findall(r"^```(\w*)[^\n]*\n(.*?)^```", text, re.M | re.S):
        lines = re.sub(r"\\\n\s*", "", block).splitlines()
        if language == "console":
            lines = [line[2:] for line in lines if line.startswith("$ ")]
        if language in languages:
            yield from (line for line in lines if shlex.split(line, comments=True))


def commands(text: str) -> list[list[str]]:
    """Every command of the page's shell blocks, those that `&&` and pipes join apart."""
    lines = shell_lines(text, "sh", "bash", "shell", "console")
    split = [shlex.split(line, comments=True) for line in lines]
    return [part for words in split for part in _parts(words) if part]


def mentioned(text: str) -> list[list[str]]:
    """Every `firnline ...` and `make ...` of running text."""
    spans = [
        span for span in codes(prose(text)) if re.match(r"(firnline(-agent)?|make) [a-z-]", span)
    ]
    return [shlex.split(span) for span in spans]


def prose(text: str) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)


def anchors(text: str) -> set[str]:
    """The anchors that a page's headings make, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(text), re.M)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.strip().replace(" ", "-") for heading in plain}


def every_command() -> dict[str, Any]:
    """`run`, `lock check` and so on -> the command, in the order of the help."""
    found: dict[str, Any] = {}
    for name, command in ROOT_COMMAND.commands.items():
        inner = getattr(command, "commands", None)
        found |= (
            {f"{name} {each}": made for each, made in inner.items()} if inner else {name: command}
        )
    return found


def agent_commands() -> dict[str, set[str]]:
    """A command of `firnline-agent` -> its options and arguments."""
    actions = agent_parser()._actions
    parsers = next(action.choices for action in actions if isinstance(action.choices, dict))
    return {
        command: {name for a in parser._actions for name in (a.option_strings or [a.dest])}
        for command, parser in parsers.items()
    }


def command_of(words: list[str]) -> tuple[Any, list[str]]:
    """The command that words name, sub-commands followed, and the words that are left."""
    command, rest = ROOT_COMMAND, words
    while rest and rest[0] in getattr(command, "commands", {}):
        command, rest = command.commands[rest[0]], rest[1:]
    return command, rest


def _parts(words: list[str]) -> list[list[str]]:
    """The commands that `&&` and pipes join."""
    parts: list[list[str]] = [[]]
    for word in words:
        if word in {"&&", "|"}:
            parts.append([])
        else:
            parts[-1].append(word)
    return parts
