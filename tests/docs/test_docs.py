"""The pages hold: links lead somewhere, commands are commands, the walk is of this code."""

import json
import os
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console
from rich.table import Table

from firnline.cli.run import score_table, summary_rows
from firnline.workload import locate, views
from tests.docs.pages import (
    DOCS,
    ROOT,
    ROOT_COMMAND,
    agent_commands,
    agent_parser,
    anchors,
    codes,
    command_of,
    commands,
    mentioned,
    name_of,
    pages,
    prose,
    tables,
)
from tests.resources.project import Project

BEFORE = ("ingest", "features", "train", "register", "quantize")
AFTER = ("export", "shadow", "drift", "window")
CHEAP = ("check", "doctor", "lock", "simulate", "--help", "--version")
OTHER_TOOLS = {"cd", "echo", "export", "feast", "python"}
SYSTEM_TOOLS = {"cp", "ls", "mkdir", "mv", "python3", "sed", "sha256sum", "systemd-run"}
OWN_TEST = DOCS / "your-own-ensemble.md"  # a test does all that it says
WALK = (DOCS / "walk.md").read_text(encoding="utf-8")
COMMANDS = [(page, words) for page in pages() for words in commands(page.read_text("utf-8"))]


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    text = prose(page.read_text(encoding="utf-8"))
    broken = []
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]+))?\)", text):
        if "://" in target:
            continue
        path = (page.parent / target).resolve() if target else page
        if not path.exists():
            broken.append(target)
        elif anchor and anchor not in anchors(path.read_text(encoding="utf-8")):
            broken.append(f"{target}#{anchor}")

    assert broken == []


@pytest.mark.parametrize("page", [*pages(), *DOCS.rglob("*.json")], ids=name_of)
def test_no_page_names_a_machine(page: Path) -> None:
    text = page.read_text(encoding="utf-8")

    assert re.findall(r"(?<![\w.])/(?:root|home|work|tmp|Users|mnt)/\S*", text) == []


def test_every_page_is_in_the_index() -> None:
    index = (DOCS / "README.md").read_text(encoding="utf-8")
    targets = {(DOCS / target).resolve() for target in re.findall(r"\]\(([^)#]+)", index)}

    assert {page for page in DOCS.rglob("*.md")} - targets == {DOCS / "README.md"}


@pytest.mark.parametrize(
    ("page", "words"), COMMANDS, ids=[f"{page.name}: {' '.join(words)}" for page, words in COMMANDS]
)
def test_commands_are_commands(page: Path, words: list[str]) -> None:
    tool, *rest = words
    if tool == "firnline" and rest[0] in ROOT_COMMAND.commands:
        command, arguments = command_of([word for word in rest if word != "&"])
        command.make_context(" ".join(rest), arguments)
    elif tool == "firnline":
        assert rest[0] in _options(ROOT_COMMAND)
    elif tool == "firnline-agent":
        assert agent_parser().parse_args([word for word in rest if word != "&"])
    elif tool == "make":
        assert set(rest) <= set(_targets())
    elif words[:3] == ["prefect", "deployment", "run"]:
        assert words[3] in _deployments()
    elif tool == "dvc":
        assert rest[0] in {"checkout", "push", "status"}
    elif tool.startswith(".") and tool != ".":
        assert tool in {".venv/bin/python", ".tools/bin/uv"}
        file = f"{rest[1].replace('.', '/')}.py" if rest[0] == "-m" else rest[0]
        assert tool != ".venv/bin/python" or (ROOT / file).is_file()
    else:
        installed = (
            tool in {".", "/opt/firnline-agent/bin/pip"}
            and "/opt/firnline-agent/" in tool + rest[0]
        )
        assert installed or tool in OTHER_TOOLS | SYSTEM_TOOLS


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_commands_in_running_text_are_there(page: Path) -> None:
    for tool, name, *rest in mentioned(page.read_text(encoding="utf-8")):
        if tool == "make":
            assert name in _targets()
            continue
        if tool == "firnline-agent":
            assert name in agent_commands()
            assert {word for word in rest if word.startswith("-")} <= agent_commands()[name]
            continue
        command, left = command_of([name, *rest])
        used = {word.partition("=")[0] for word in left if word.startswith("-")}
        assert command is not ROOT_COMMAND or name.startswith("-"), name
        assert used <= _options(command), f"firnline {name}"


def test_cheap_commands_run(tmp_path: Path) -> None:
    project = Project(tmp_path)
    shown = [words for page, words in COMMANDS if page != OWN_TEST]
    lines = {tuple(words[1:]) for words in shown if words[0] == "firnline"}
    cheap = {line for line in lines if line[-1] in CHEAP or (line[0] in CHEAP and len(line) > 1)}
    # Views and branches of somebody's own; tests of the lock do what these lines say.
    cheap = {line for line in cheap if line[:2] != ("lock", "add") and "--base" not in line}
    runnable = {line for line in cheap if not any(word.isupper() for word in line)}
    assert {line[0] for line in runnable} >= {"check", "doctor", "simulate"}
    for line in sorted(runnable | {("--help",), ("--version",)}):
        done = project.run(*line)
        lacking = line[0] == "doctor" and done.returncode == 1  # this machine, not the page
        assert lacking or done.returncode == 0, f"{' '.join(line)}\n{done.stdout}{done.stderr}"


def test_make_knows_its_targets() -> None:
    for target in _targets():
        done = subprocess.run(
            ["make", "--dry-run", target],
            cwd=ROOT,
            env={"PATH": os.environ["PATH"]},
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr


def test_the_readme_fits_on_a_screen() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")

    assert len(text.splitlines()) <= 60
    folders = [row for row in tables(text)[0][1:]]
    named = {folder for row in folders for folder in re.findall(r"`([\w/]+)`", row[0])}
    assert all((ROOT / folder).is_dir() for folder in named)
    missing = {
        path.name
        for path in ROOT.iterdir()
        if path.is_dir() and not path.name.startswith(".") and path.name not in {"data", "dist"}
    } - {folder.partition("/")[0] for folder in named}
    assert missing == set()


def test_contributing_shows_the_layers_that_are_enforced() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = project["tool"]["importlinter"]["contracts"]
    enforced = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    found = tables((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))
    shown = next(table for table in found if table[0][0] == "layer")

    assert [codes(row[0]) for row in shown[1:]] == [row.split(" | ") for row in enforced]


def test_the_walk_shows_every_step() -> None:
    for name, mark in (("refrigeration", "done"), ("again", "reused"), ("skab", "done")):
        ensemble = "refrigeration" if name == "again" else name
        targets = [f"target-{each}" for each in locate(ensemble, ROOT).manifest.release.targets]
        ends = re.findall(r"^(done|reused) +([\w-]+) .*\(\d+\.\d s\)$", block(name), re.M)
        assert ends == [(mark, step) for step in (*BEFORE, *targets, *AFTER)], name


@pytest.mark.parametrize("name", ["refrigeration", "skab"])
def test_the_walk_shows_the_feature_versions_of_this_code(name: str) -> None:
    for view in views(locate(name, ROOT)):
        assert view.label in block(name), f"{view.label} is not in docs/walk.md; record it again"


@pytest.mark.parametrize(("name", "document"), [("again", "refrigeration"), ("skab", "skab")])
def test_the_walk_shows_the_summary_as_it_prints(name: str, document: str) -> None:
    """Every line of the summary, as this code makes it of the recorded document."""
    recorded = _recorded(document)
    shown = " ".join(block(name).split())
    rows = [row for row in summary_rows(recorded) if row[0] != "reused"]

    assert [f"{row[0]} {row[1]}" for row in rows if " ".join(_words(row)) not in shown] == []


@pytest.mark.parametrize("name", ["skab", "isolation-forest"])
def test_the_walk_shows_the_table_as_it_prints(name: str) -> None:
    assert _printed(score_table(_recorded(name)["metrics"]["table"])) in block(name)


def test_the_walk_says_when_and_where() -> None:
    said = re.search(r"<!-- recorded: machine -->\n(.+)", WALK)

    assert said
    assert re.match(r"Recorded on 20\d\d-\d\d-\d\d: \d+ cores \(.+\), Python 3\.1[12]", said[1])


def block(name: str) -> str:
    """A recorded block of the walk."""
    found = re.search(rf"<!-- recorded: {name} -->\n```text\n(.*?)```", WALK, re.S)
    assert found, name
    return found[1]


def _recorded(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((DOCS / "recorded" / f"{name}.json").read_text())
    return document


def _words(row: tuple[str, str]) -> list[str]:
    return [*row[0].split(), *row[1].split()]


def _printed(table: Table) -> str:
    console = Console(width=200, file=open(os.devnull, "w"), record=True)  # noqa: SIM115, PTH123
    console.print(table)
    console.file.close()
    return "\n".join(line.rstrip() for line in console.export_text().splitlines())


def _targets() -> list[str]:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    return next(line for line in makefile.splitlines() if line.startswith(".PHONY:")).split()[1:]


def _deployments() -> set[str]:
    """`flow/deployment` of all that prefect.yaml deploys."""
    document = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))
    return {
        f"{entry['entrypoint'].partition(':')[2]}/{entry['name']}"
        for entry in document["deployments"]
    }


def test_operations_lists_every_deployment() -> None:
    text = (DOCS / "operations.md").read_text(encoding="utf-8")
    table = next(table for table in tables(text) if table[0][0] == "deployment")

    listed = {name for row in table[1:] for name in re.findall(r"`([^`]+)`", row[0])}

    assert listed == _deployments()
    document = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))
    scheduled = {e["entrypoint"] for e in document["deployments"] if e.get("schedules")}
    said = {row[0].strip("`").partition("/")[0] for row in table[1:] if row[2]}
    assert said == {entry.partition(":")[2] for entry in scheduled}


def _options(command: Any) -> set[str]:
    """Every option of a command, in each of its spellings."""
    found = {option for p in command.params for option in (*p.opts, *p.secondary_opts)}
    return {option for option in found if option.startswith("-")} | {"--help"}
