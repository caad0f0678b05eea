import functools
import importlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from typing import Any

import pytest

from firnline.contracts.features import WindowView, parse_reference, table_name
from firnline.contracts.source import transformation
from firnline.errors import HandshakeError

ROOT = Path(__file__).parents[3]

PLAIN = '''
"""A module."""
import math
from math import floor

from .helpers import scaled

FACTOR = 2.5
UNUSED = 1
TABLE = {"a": 1}
TABLE["b"] = 2


def window_features(readings, view):
    """One row a window."""
    # A comment.
    def inner(x: int) -> int:
        return x + 1
    names = [f"{name!r}_{kind:>{3}} 'q' \\n" for name in "ab" for kind in TABLE]
    return scaled(readings) * FACTOR * inner(1) + math.pi + floor(2.5), names


def other(readings, view):
    return UNUSED
'''
HELPERS = """
OFFSET = 1


def scaled(value):
    return value + OFFSET


def elsewhere():
    return None
"""


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Write a package of transforms and helpers, import it, and give back its function."""
    made: list[str] = []

    def make(transforms: str = PLAIN, helpers: str = HELPERS) -> Any:
        package = f"pumps{len(made)}"
        made.append(package)
        folder = tmp_path / package
        folder.mkdir()
        (folder / "__init__.py").touch()
        (folder / "transforms.py").write_text(transforms)
        (folder / "helpers.py").write_text(helpers)
        monkeypatch.syspath_prepend(str(tmp_path))
        return importlib.import_module(f"{package}.transforms").window_features

    yield make
    for name in [name for name in sys.modules if name.partition(".")[0] in made]:
        del sys.modules[name]


def view(**changes: Any) -> WindowView:
    fields = {
        "name": "pump_window",
        "version": 2,
        "entity": "pump",
        "key": "pump_id",
        "window_seconds": 900,
        "every_seconds": 300,
        "ttl_seconds": 3600,
        "features": ("a", "b"),
        "transform": transformation,
    }
    return WindowView(**{**fields, **changes})


def test_names(load: Callable[..., Any]) -> None:
    ours = view(transform=load())
    assert ours.reference == "pump_window@v2"
    assert ours.table == table_name(ours.reference) == "pump_window_v2"
    assert ours.label == f"pump_window@v2#{ours.digest()[:6]}"
    assert parse_reference(ours.reference) == ("pump_window", 2)
    assert ours.lookback_seconds == 600
    with pytest.raises(FrozenInstanceError):
        ours.version = 3


@pytest.mark.parametrize("text", ["pump_window", "pump@v0", "Pump@v1", "pump@v1\n", "a@v1@v2", ""])
def test_what_is_no_reference(text: str) -> None:
    with pytest.raises(HandshakeError) as caught:
        parse_reference(text)
    assert caught.value.code == "FV3"


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "Pump"},
        {"name": "pump-window"},
        {"key": ""},
        {"version": 0},
        {"every_seconds": 0},
        {"every_seconds": 1000},
        {"window_seconds": 1000},
        {"window_seconds": 1400, "every_seconds": 700},
        {"ttl_seconds": 0},
        {"features": ()},
        {"features": ("a", "a")},
        {"features": ("window_end",)},
        {"features": ("pump_id",)},
        {"features": ("a__b",)},
    ],
)
def test_what_no_view_may_be(changes: dict[str, Any]) -> None:
    with pytest.raises(HandshakeError) as caught:
        view(**changes)
    assert caught.value.code == "FV1"


def test_every_breach_is_told_at_once() -> None:
    with pytest.raises(HandshakeError) as caught:
        view(name="Pump", version=0, ttl_seconds=0)
    assert caught.value.found.count(";") == 2


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("    # A comment.\n", "\n\n    # Another.\n"),
        ('    """One row a window."""\n', '    """Other words."""\n'),
        ('"""A module."""\n', ""),
        ("def inner(x: int) -> int:", "def inner(x):"),
        ("FACTOR = 2.5", "FACTOR: float = (\n    2.5\n)"),
        ("UNUSED = 1", "UNUSED = 3"),
        ("    return UNUSED", "    return 5"),
        ("from math import floor", "from math import floor, ceil"),
    ],
)
def test_what_does_not_compute_leaves_the_digest(
    old: str, new: str, load: Callable[..., Any]
) -> None:
    assert old in PLAIN
    changed = load(PLAIN.replace(old, new))
    assert view(transform=changed).digest() == view(transform=load()).digest()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("FACTOR = 2.5", 'FACTOR = "2.5"'),
        ("FACTOR = 2.5", "FACTOR = 2.5000001"),
        ("return x + 1", "return x + True"),
        ('TABLE["b"] = 2', 'TABLE["b"] = 3'),
        ('TABLE["b"] = 2', "TABLE.update(b=2)"),
        ("{kind:>{3}}", "{kind:>{4}}"),
        ("{name!r}", "{name!s}"),
        ("* FACTOR *", "/ FACTOR *"),
        ("from math import floor", "from math import ceil as floor"),
    ],
)
def test_what_computes_changes_the_digest(old: str, new: str, load: Callable[..., Any]) -> None:
    assert old in PLAIN
    changed = load(PLAIN.replace(old, new))
    assert view(transform=changed).digest() != view(transform=load()).digest()


def test_helpers_of_the_project_count_and_what_is_not_reached_does_not(
    load: Callable[..., Any],
) -> None:
    plain = view(transform=load()).digest()
    assert (
        view(transform=load(helpers=HELPERS.replace("OFFSET = 1", "OFFSET = 2"))).digest() != plain
    )
    assert view(transform=load(helpers=HELPERS.replace("None", "0"))).digest() == plain


def test_a_module_of_the_project_used_by_name_counts_whole(load: Callable[..., Any]) -> None:
    text = "from . import helpers\n\ndef window_features(r, v):\n    return helpers.scaled(r)\n"
    plain = view(transform=load(text)).digest()
    changed = HELPERS.replace("OFFSET = 1", "OFFSET = 2")
    assert view(transform=load(text, changed)).digest() != plain


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "pump_hour"),
        ("version", 3),
        ("entity", "motor"),
        ("key", "motor_id"),
        ("window_seconds", 1800),
        ("every_seconds", 900),
        ("ttl_seconds", 7200),
        ("features", ("b", "a")),
        ("partition", "day"),
    ],
)
def test_every_field_counts(field: str, value: Any, load: Callable[..., Any]) -> None:
    plain = view(transform=load())
    assert replace(plain, **{field: value}).digest() != plain.digest()


class Callee:
    def __call__(self, readings: Any, view: Any) -> Any:
        return readings

    def method(self, readings: Any, view: Any) -> Any:
        return readings


@pytest.mark.parametrize(
    "unreadable",
    [
        lambda readings, view: readings,
        Callee(),
        Callee().method,
        functools.partial(parse_reference),
    ],
)
def test_only_a_plain_function_has_an_identity(unreadable: Any) -> None:
    with pytest.raises(HandshakeError) as caught:
        view(transform=unreadable).digest()
    assert caught.value.code == "FV2"


def test_recursion_ends(load: Callable[..., Any]) -> None:
    text = "def window_features(r, v):\n    return again(r, v)\n\n"
    text += "def again(r, v):\n    return window_features(r, v)\n"
    assert set(transformation(load(text))["definitions"]) == {
        "transforms.window_features",
        "transforms.again",
    }


def test_python_311_and_312_agree(load: Callable[..., Any], tmp_path: Path) -> None:
    other = "3.12" if sys.version_info[:2] == (3, 11) else "3.11"
    python = shutil.which(f"python{other}")
    if python is None or subprocess.run([python, "-V"], capture_output=True).returncode:
        pytest.skip(f"no python{other} on PATH to compare with")
    function = load()
    script = (
        f"import sys, json; sys.path[:0] = {[str(ROOT), str(tmp_path)]!r}\n"
        "from firnline.contracts.source import transformation\n"
        "from pumps0.transforms import window_features\n"
        "print(json.dumps(transformation(window_features)))\n"
    )
    done = subprocess.run([python, "-c", script], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == transformation(function)
