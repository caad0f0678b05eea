"""`firnline lock` in a user's project: publish, change, merge, and what each of it is told."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from firnline.contracts.lock import Lock, add, render
from firnline.contracts.outputs import StageOutputs
from tests.resources.project import Project

SHIPPED = ["device_hour@v1", "device_window@v1", "rig_window@v1"]
MANIFEST = """
[ensemble]
name = "pump"
entity = "pump"
key = "pump_id"

[features]
module = "pump_features"

[[stage]]
name = "first"
recipe = "pump:Recipe"
features = ["pump_window@v1"]
outputs = [{ name = "score" }]

[[stage]]
name = "last"
recipe = "pump:Recipe"
features = ["pump_hour@v1"]
upstream = ["first.score"]
outputs = [{ name = "score" }]

[decide]
output = "last.score"
"""
FEATURES = """
from dataclasses import replace

from firnline.contracts.features import WindowView

FACTOR = 2


def window(readings, view):
    return readings * FACTOR


WINDOW = WindowView(
    name="pump_window",
    version=1,
    entity="pump",
    key="pump_id",
    window_seconds=900,
    every_seconds=900,
    ttl_seconds=3600,
    features=("flow", "pressure"),
    transform=window,
)
VIEWS = (
    WINDOW,
    replace(WINDOW, name="pump_hour", window_seconds=3600),
    replace(WINDOW, version=2, ttl_seconds=7200),
)
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "pump").mkdir()
    (tmp_path / "pump" / "ensemble.toml").write_text(MANIFEST)
    (tmp_path / "pump_features.py").write_text(FEATURES)
    return Project(tmp_path, {"PYTHONDONTWRITEBYTECODE": "1"})


def lock_file(project: Project) -> Path:
    return project.folder / "feature_repo" / "features.lock"


def replace_in(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def told(project: Project, *arguments: str, status: int = 0) -> dict[str, Any]:
    done = project.run("lock", *arguments, "--json")
    assert done.returncode == status, done.stdout + done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def breaches(project: Project, *arguments: str) -> list[tuple[str, str]]:
    found = told(project, "check", *arguments, status=1)
    assert not found["good"]
    assert all(set(each) == {"code", "found", "where", "mend"} for each in found["breaches"])
    return [(each["code"], each["found"]) for each in found["breaches"]]


def commit(project: Project) -> None:
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
    for words in (["init", "-q"], ["add", "."], [*identity, "commit", "-q", "-m", "Work"]):
        subprocess.run(["git", *words], cwd=project.folder, check=True)


def test_from_nothing_to_the_next_version(project: Project) -> None:
    assert [code for code, _ in breaches(project)] == ["H1", "H1"]

    added = told(project, "add", "pump_window@v1", "pump_hour")
    assert added["file"] == "feature_repo/features.lock"
    assert [label.partition("#")[0] for label in added["added"]] == [
        "pump_hour@v1",
        "pump_window@v1",
    ]
    said = project.run("lock", "add", "--ensemble", "pump").stdout
    assert "published pump_window@v2#" in said and "ttl_seconds 3600 -> 7200" in said
    assert told(project, "add")["added"] == []

    found = told(project, "check")
    assert found["good"] and found["base"] is None
    references = [label.partition("#")[0] for label in found["versions"]]
    assert references == [
        *SHIPPED[:2],
        "pump_hour@v1",
        "pump_window@v1",
        "pump_window@v2",
        SHIPPED[2],
    ]


def test_every_breach_at_once(project: Project) -> None:
    told(project, "add")
    commit(project)
    # A comment, a docstring, a type and the layout are no change.
    features = project.folder / "pump_features.py"
    replace_in(
        features,
        "def window(readings, view):\n",
        'def window(readings: object, view):\n    """Twice."""\n',
    )
    assert told(project, "check")["base"] == "HEAD"

    replace_in(features, "FACTOR = 2", "FACTOR = 3")
    replace_in(features, 'replace(WINDOW, name="pump_hour", window_seconds=3600)', "")
    replace_in(features, "    ,\n", "")
    replace_in(project.folder / "pump" / "ensemble.toml", "pump_hour@v1", "pump_window@v1")
    path = lock_file(project)
    head, hour, _, second = path.read_text().splitlines(keepends=True)
    path.write_text(head + hour + second + second + second.replace("7200", "60"))

    found = breaches(project)

    codes = [code for code, _ in found]
    assert codes == ["L5", "L3", "L1", "H1", "H1", "H1", "L6"]
    words = "\n".join(text for _, text in found)
    assert "the line of pump_window@v1#" in words
    assert "transformation: pump_features.FACTOR changed" in words
    assert "pump_hour@v1#" in words
    shown = project.run("lock", "check")
    assert shown.returncode == 1 and all(code in shown.stdout for code in {*codes})


def test_a_published_version_stays_what_it_is(project: Project) -> None:
    told(project, "add")
    commit(project)
    before = lock_file(project).read_bytes()
    replace_in(project.folder / "pump_features.py", '("flow", "pressure")', '("pressure", "flow")')

    refused = project.run("lock", "add")
    assert refused.returncode == 1 and "L1" in refused.stderr
    assert "another order" in refused.stderr and "pump_window@v3" in refused.stderr
    assert lock_file(project).read_bytes() == before

    lock_file(project).unlink()
    told(project, "add")
    assert [code for code, _ in breaches(project, "--base", "HEAD")] == ["L1", "L1", "L1"]
    missing = project.run("lock", "check", "--base", "no-such-branch")
    assert missing.returncode == 1 and "L8" in missing.stderr


def test_an_ensemble_that_cannot_be_loaded_is_a_breach(project: Project) -> None:
    told(project, "add")
    (project.folder / "pump_features.py").write_text("VIEWS = 1 / 0\n")

    assert [code for code, _ in breaches(project)] == ["M8"]
    assert "M8" in project.run("lock", "add").stderr
    assert told(project, "add", "rig_window")["added"] == []


def test_what_a_version_is_and_who_reads_it(project: Project) -> None:
    told(project, "add", "pump_window@v1", "pump_hour@v1")
    outputs = StageOutputs(
        ensemble="pump",
        stage="first",
        version=1,
        entity="pump",
        key="pump_id",
        fields=("score",),
        ttl_seconds=900,
        model="e" * 64,
        reads={"pump_window@v1": "0" * 64},
    )
    made = project.folder / ".firnline" / "features" / "outputs.lock"
    made.parent.mkdir(parents=True)
    made.write_text(render(add(Lock(), [outputs])))

    shown = told(project, "show", "pump_window_v1")
    assert shown["published"] and shown["record"]["ttl_seconds"] == 3600
    assert told(project, "show", shown["label"]) == shown
    # Bare, a name is its newest published version; one that is only defined can be named.
    assert told(project, "show", "pump_window") == shown
    assert not told(project, "show", "pump_window@v2")["published"]

    why = told(project, "why", "pump_window@v1")
    assert why["stages"] == [
        {"ensemble": "pump", "stage": "first", "through": None},
        {"ensemble": "pump", "stage": "last", "through": "first"},
    ]
    assert why["outputs"] == [outputs.label]
    assert told(project, "why", "pump_first@v1")["stages"] == [
        {"ensemble": "pump", "stage": "last", "through": None}
    ]

    compared = told(project, "diff", "pump_window@v1", "pump_window@v2")
    assert compared["differences"] == ["ttl_seconds 3600 -> 7200"]
    assert [reader["outputs"] for reader in compared["readers"].values()] == [[outputs.label], []]

    for words, said in {
        ("show", "pump_window"): "ttl_seconds",
        ("diff", "pump_window@v1", "pump_hour"): "window_seconds 900 -> 3600",
        ("why", "pump_window"): "pump.last through first",
    }.items():
        assert said in project.run("lock", *words).stdout
    unknown = project.run("lock", "why", "pump_window@v1#ffffff")
    assert unknown.returncode == 1 and "L7" in unknown.stderr
