"""docs/reference/targets.md and docs/targets.md say what profiles hold, and which ship."""

import json
import re
from typing import Any, get_args

import pytest
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from edge.targets import load, names
from firnline.contracts import target
from tests.docs.pages import DOCS, codes, section, tables

PAGE = (DOCS / "reference" / "targets.md").read_text(encoding="utf-8")
PARTS: dict[str, type[BaseModel]] = {
    "The file": target.Profile,
    "[build]": target.Build,
    "[cpu]": target.Cpu,
    "[npu]": target.Npu,
    "[vendor]": target.Vendor,
    "[memory]": target.Memory,
    "[budget]": target.Budget,
    "[energy]": target.Energy,
}


def unless_given(field: Any) -> str:
    """How the third column writes a default."""
    if field.default is PydanticUndefined:
        return "must be given"
    if isinstance(field.default, BaseModel):
        return "no limits"
    return "none" if field.default is None else f"`{json.dumps(field.default)}`"


@pytest.mark.parametrize("heading", PARTS)
def test_every_field_of_a_profile(heading: str) -> None:
    rows = tables(section(PAGE, heading))[0][1:]

    written = {codes(row[0])[0]: row[2] for row in rows}

    fields = PARTS[heading].model_fields
    assert written == {name: unless_given(field) for name, field in fields.items()}


@pytest.mark.parametrize(
    ("model", "name"),
    [(target.Build, "core"), (target.Build, "toolchain"), (target.Cpu, "machine"),
     (target.Npu, "path"), (target.Npu, "host")],
)  # fmt: skip
def test_every_choice_of_a_field(model: type[BaseModel], name: str) -> None:
    heading = next(heading for heading, part in PARTS.items() if part is model)
    row = next(row for row in tables(section(PAGE, heading))[0][1:] if codes(row[0]) == [name])

    assert set(codes(row[1])) == set(get_args(model.model_fields[name].annotation))


def test_every_target_that_ships() -> None:
    rows = tables(section(PAGE, "Those that ship"))[0][1:]

    listed = {codes(row[0])[0]: (codes(row[1])[0], row[2]) for row in rows}

    profiles = {name: load(name) for name in names()}
    assert listed == {name: (each.kind, each.about) for name, each in profiles.items()}


def test_every_kind() -> None:
    rows = tables(section(PAGE, "Kinds"))[0][1:]

    assert {codes(row[0])[0] for row in rows} == set(get_args(target.Kind))


def test_profiles_that_the_page_shows_are_profiles() -> None:
    page = (DOCS / "targets.md").read_text(encoding="utf-8")
    shown = re.findall(r'^```toml title="targets/([\w-]+)\.toml"\n(.*?)^```', page, re.M | re.S)

    assert [target.parse(text, name).name for name, text in shown] == [name for name, _ in shown]
    assert len(shown) == 2
