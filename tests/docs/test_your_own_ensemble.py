"""The page does what it says: its files are written, and its commands run, in an empty folder."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from edge.verify import verify
from tests.resources.project import Project

PAGE = Path(__file__).parents[2] / "docs" / "your-own-ensemble.md"
STAGES = "pump/ensemble.toml, both stages"
BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)


def steps(text):
    """The page's blocks in order: a file's name and content, or None and a command."""
    for language, title, body in BLOCK.findall(text):
        if language == "console":
            for line in body.splitlines():
                yield None, line.removeprefix("$ ")
        else:
            yield title, body


def write(folder, title, body):
    """Write a block; one that is a part of a file goes in the place of what it replaces."""
    file = folder / title.partition(",")[0]
    if title == STAGES:
        text = file.read_text()
        start, end = text.index("[[stage]]"), text.index("[decide]")
        body = f"{text[:start]}{body}\n{text[end:]}"
    file.parent.mkdir(exist_ok=True)
    file.write_text(body)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """Every command of the page with what it said, and the run documents there were."""
    folder = tmp_path_factory.mktemp("empty")
    project = Project(folder)
    commands, documents = [], []
    for title, body in steps(PAGE.read_text()):
        if title is not None:
            write(folder, title, body)
            continue
        program, *arguments = shlex.split(body)
        if program == "python":
            subprocess.run([sys.executable, *arguments], cwd=folder, check=True)
            continue
        assert program == "firnline"
        commands.append((arguments, project.run(*arguments)))
        if arguments[0] == "run":
            saved = folder / ".firnline" / "runs" / "pump.json"
            documents.append(json.loads(saved.read_text()) if saved.is_file() else None)
    return folder, commands, documents


def test_every_command_of_the_page_works(done):
    _, commands, _ = done
    assert [arguments[0] for arguments, _ in commands] == ["check", "lock", "run", "check", "run"]
    for arguments, process in commands:
        assert process.returncode == 0, (arguments, process.stdout, process.stderr)


def test_check_finds_nothing_wrong(done):
    _, commands, _ = done
    before, after = (
        {line.split()[0] for line in process.stdout.splitlines() if line.strip()}
        for arguments, process in commands
        if arguments[0] == "check"
    )
    # Before the view is published, that is the one thing it asks for.
    assert before == {"ok", "--", "mend", "pump:"}
    assert after == {"ok", "pump:"}


def test_both_runs_end_in_a_bundle_that_verifies(done):
    folder, _, documents = done
    assert len(documents) == 2
    stages = []
    for document in documents:
        bundle = verify(folder / document["bundle"]["path"], document["bundle"]["digest"])
        assert bundle["name"] == "pump"
        stages.append([stage["recipe"] for stage in bundle["stages"]])
    assert [recipes[0] for recipes in stages] == [
        "models.generic.residual:PcaResidual",
        "pump.recipe:Distance",
    ]


def test_the_models_of_the_page_find_its_fault(done):
    _, _, documents = done
    assert all(document["metrics"]["auc"] > 0.9 for document in documents)
    assert documents[0]["readings"] == 57_600 and not any(documents[0]["quarantined"].values())


def test_where_the_page_says_things_land(done):
    folder, _, _ = done
    for name in ("data/pump", "data.dvc", ".firnline/artifacts/pump/export"):
        assert f"`{name}" in PAGE.read_text() or name.endswith("export")
        assert (folder / name).exists()


def test_the_page_is_one_page_and_its_links_lead_somewhere():
    text = PAGE.read_text()
    assert len(text.splitlines()) < 260
    for link in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        assert (PAGE.parent / link).is_file(), link
