"""docs/reference/ says every field, setting, command and key, and no other."""

import ast
import inspect
import json
import typing
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined, to_jsonable_python

from firnline.contracts import ensemble
from firnline.errors import ContractError
from firnline.settings import Settings
from firnline.telemetry import SWITCHES
from tests.docs.pages import DOCS, ROOT, codes, every_command, section, tables

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

    assert written(tables(page("run-json.md"))[0]) == found


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
