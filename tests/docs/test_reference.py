"""docs/reference/ says every field, setting, command and key, and no other."""

import ast
import inspect
import json
import re
import typing
from collections.abc import Iterator
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined, to_jsonable_python

from edge.agent.config import Config
from edge.agent.scores import Summary
from edge.agent.status import Status
from edge.channel.config import DAYS
from edge.channel.config import Config as ChannelConfig
from firnline.contracts import ensemble
from firnline.contracts.offer import Offer
from firnline.errors import ContractError
from firnline.rollout.assignment import Pin, assign, render
from firnline.settings import Settings
from firnline.telemetry import SWITCHES
from tests.docs.pages import (
    DOCS,
    ROOT,
    agent_commands,
    codes,
    every_command,
    section,
    tables,
)

REFERENCE = DOCS / "reference"
MODELS: tuple[type[BaseModel], ...] = (
    *(ensemble.Identity, ensemble.Data, ensemble.Simulate, ensemble.Features, ensemble.Stage),
    *(ensemble.Output, ensemble.Decide, ensemble.Split, ensemble.Quantize, ensemble.Parity),
    *(ensemble.Release, ensemble.Retrain, ensemble.Published, ensemble.PublishedRow),
)
COMMANDS = every_command()
VERDICTS = ("shadow", "drift", "window")


def page(name: str) -> str:
    return (REFERENCE / name).read_text(encoding="utf-8")


def reachable(model: type[BaseModel]) -> set[type[BaseModel]]:
    """The models that a model's fields are made of."""
    found: set[type[BaseModel]] = set()
    for field in model.model_fields.values():
        for part in _leaves(field.annotation):
            if isinstance(part, type) and issubclass(part, BaseModel) and part not in found:
                found |= {part} | reachable(part)
    return found


def _leaves(annotation: Any) -> Iterator[Any]:
    inner = typing.get_args(annotation)
    if not inner:
        yield annotation
    for part in inner:
        yield from _leaves(part)


def default(field: FieldInfo) -> str:
    """How the third column writes a default."""
    if field.is_required():
        return "must be given"
    value = to_jsonable_python(field.get_default(call_default_factory=True))
    return "none" if value is None else f"`{json.dumps(value)}`"


def test_every_part_of_the_manifest_has_a_table() -> None:
    assert reachable(ensemble.Ensemble) == set(MODELS)
    sections = tables(page("manifest.md"))[0]
    named = [codes(row[0])[0].strip("[]") for row in sections[1:]]
    assert named == list(ensemble.Ensemble.model_fields)


@pytest.mark.parametrize(
    ("number", "model"), list(enumerate(MODELS)), ids=[model.__name__ for model in MODELS]
)
def test_every_field_of_the_manifest(number: int, model: type[BaseModel]) -> None:
    table = [table for table in tables(page("manifest.md")) if table[0][0] == "field"][number]

    written = {codes(row[0])[0]: row[2] for row in table[1:]}

    assert written == {name: default(field) for name, field in model.model_fields.items()}


def test_every_setting() -> None:
    table = tables(page("settings.md"))[0]
    written = {codes(row[0])[0]: row[2] for row in table[1:]}

    for name, field in Settings.model_fields.items():
        said = written.pop(f"FIRNLINE_{name.upper()}")
        value = field.get_default()
        if value is not PydanticUndefined and field.default_factory is None:
            assert said == ("none" if value is None else f"`{value}`"), name

    assert written == {}
    assert set(SWITCHES) <= set(codes(page("settings.md")))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option(name: str) -> None:
    command = COMMANDS[name]
    found = tables(section(page("cli.md"), f"firnline {name}"))
    rows = {codes(row[0])[0]: row for table in found for row in table[1:]}
    for parameter in command.params:
        is_option = parameter.opts[0].startswith("--")
        row = rows.pop(parameter.opts[0] if is_option else parameter.opts[0].upper())
        for other in [*parameter.opts[1:], *parameter.secondary_opts]:
            assert other in " ".join(row), f"{name} {other}"
        if parameter.required:
            assert row[2] == "must be given"
        elif isinstance(parameter.default, int) and not isinstance(parameter.default, bool):
            assert row[2] == f"`{parameter.default}`"

    assert rows == {}, "documented, but not there"


def test_no_command_is_made_up() -> None:
    headings = [line for line in page("cli.md").splitlines() if line.startswith("## firnline ")]
    assert [line.removeprefix("## firnline ") for line in headings] == list(COMMANDS)


def recorded(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((DOCS / "recorded" / f"{name}.json").read_text())
    return document


def paths(value: Any, prefix: str = "") -> Iterator[str]:
    """`a.b[].c` for every key of a document; verdicts and maps of free names end at their name."""
    free = {*VERDICTS, "quarantined", "stages[].metrics", "metrics.by_class", "metrics.later"}
    if prefix == "drift":
        yield "drift.report"
    if prefix in free or prefix == "metrics.table[]":
        yield prefix
    elif prefix == "targets":
        for record in value.values():
            yield from (f"targets.<target>.{name}" for name in record)
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from paths(inner, f"{prefix}.{name}" if prefix else name)
    elif isinstance(value, list):
        yield from paths(value[0] if value else None, f"{prefix}[]")
        if value and isinstance(value[0], dict):
            yield f"{prefix}[]"
    else:
        yield prefix


def written(table: list[list[str]]) -> set[str]:
    return {name for row in table[1:] for name in codes(row[0])}


def test_every_key_of_the_run_document() -> None:
    found = set(paths(recorded("refrigeration"))) | set(paths(recorded("skab")))

    assert written(tables(page("run-json.md"))[0]) == found | {"offer"}


def test_every_key_of_an_offer() -> None:
    found = {f"offer.{name}" for name in (*(field.name for field in fields(Offer)), "command")}

    assert written(tables(section(page("run-json.md"), "An offer"))[0]) == found


def test_every_key_of_a_protocol() -> None:
    said = set(codes(section(page("run-json.md"), "With `--protocol`")))

    assert set(recorded("isolation-forest")) <= said
    assert set(recorded("isolation-forest")["metrics"]) <= said


def test_every_key_of_a_verdict() -> None:
    found = tables(page("run-json.md"))
    for number, name in enumerate(VERDICTS, start=2):
        verdict = recorded("refrigeration")[name]
        assert set(verdict) - {"report"} == written(found[1])
        assert set(verdict["numbers"]) == written(found[number]), name


def test_every_key_of_an_error() -> None:
    error = ContractError("C01", found="", where="", mend="")
    keys = {f"error.{name}" for name in ("step", *error.document())}

    assert written(tables(section(page("run-json.md"), "When a run fails"))[0]) == keys


def test_the_recorded_document_is_of_this_code() -> None:
    """A key that the flows have gained since is found in their source."""
    tree = ast.parse((ROOT / "flows" / "main.py").read_text(encoding="utf-8"))
    keys = {
        key.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Dict)
        for key in node.keys
        if isinstance(key, ast.Constant)
    }
    words = {
        part for span in codes(page("run-json.md")) for part in span.replace("[]", "").split(".")
    }

    assert keys - words == set()


def test_help_says_what_every_command_does() -> None:
    assert all(inspect.getdoc(command.callback) for command in COMMANDS.values())


def agent_tables() -> dict[str, Any]:
    """Heading of a table of agent.toml -> the dataclass that it is read into."""
    inner = {field.name: field.default_factory for field in fields(Config)}
    names = ("limits", "health", "scores", "scoring")
    return {"agent.toml": Config} | {f"[{name}]": inner[name] for name in names}


def test_every_key_of_the_agents_configuration() -> None:
    found = [table for table in tables(page("agent.md")) if table[0][0] == "key"]
    headings = re.findall(r"^#+ (\[\w+\]|agent\.toml)$", page("agent.md"), re.M)
    kinds = agent_tables()
    assert headings == list(kinds)
    for heading, table in zip(headings, found, strict=True):
        keys = [field for field in fields(kinds[heading]) if f"[{field.name}]" not in kinds]
        assert [codes(row[0])[0] for row in table[1:]] == [field.name for field in keys]
        for row, field in zip(table[1:], keys, strict=True):
            value = field.default
            if field.default is field.default_factory is MISSING:
                assert row[2] == "must be given"
            elif isinstance(value, int | float | Path):
                assert row[2] == (f"`{value:g}`" if isinstance(value, float) else f"`{value}`") or (
                    isinstance(value, float) and row[2] == f"`{value:.0f}`"
                ), field.name
            else:
                assert not value and not row[2].startswith("`"), field.name


def test_every_command_and_option_of_the_agent() -> None:
    table = next(t for t in tables(page("agent.md")) if t[0][:2] == ["command", "option"])
    said: dict[str, set[str]] = {}
    name = ""
    for row in table[1:]:
        name = "".join(codes(row[0])) or name
        said.setdefault(name, set()).update(codes(row[1]))
    common = {"--config", "--json", "-h", "--help"}
    for command, options in agent_commands().items():
        assert said.pop(command) == options - common, command
    assert said == {}


def test_every_key_of_the_agents_status() -> None:
    table = tables(section(page("agent.md"), "status --json"))[0]
    assert written(table) == {*(field.name for field in fields(Status)), "good"}
    scores = next(row[1] for row in table if row[0] == "`scores`")
    assert codes(scores) == [field.name for field in fields(Summary)]


def test_every_field_of_an_assignment_and_of_the_channels_config() -> None:
    pin, release = Pin("a" * 64, 1), "b" * 64
    made = json.loads(render(assign(None, "small", "beta", release, {"cpu": pin})))
    said = [written(table) for table in tables(page("channel.md")) if table[0][0] == "field"]
    assert said[0] >= set(made)
    assert said[1] >= {"format", *(field.name for field in fields(ChannelConfig))}
    days = next(table for table in tables(page("channel.md")) if table[0] == ["role", "days"])
    listed = {role: int(row[1]) for row in days[1:] for role in codes(row[0])}
    assert listed == DAYS
    roles = next(
        table
        for table in tables((DOCS / "channel.md").read_text(encoding="utf-8"))
        if table[0][0] == "role" and "days" in table[0]
    )
    told = {name.strip(" `"): row[3] for row in roles[1:] for name in row[0].split(",")}
    assert {name: int(days) for name, days in told.items()} == DAYS


def test_every_field_of_the_score_log() -> None:
    text = (DOCS / "agent.md").read_text(encoding="utf-8")
    source = (ROOT / "edge/agent/scoring.py").read_text(encoding="utf-8")
    record = next(
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef) and node.name == "_record"
    )
    keys = {
        key.value
        for node in ast.walk(record)
        if isinstance(node, ast.Dict)
        for key in node.keys
        if isinstance(key, ast.Constant)
    }
    assert written(tables(section(text, "The score log"))[0]) == keys | {"n"}
