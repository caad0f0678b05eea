"""docs/errors.md and the sources know the same codes."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from firnline import errors
from tests.docs.pages import DOCS, name_of, pages, sources, tables

FAMILIES = {
    name
    for name, value in vars(errors).items()
    if isinstance(value, type) and issubclass(value, errors.FirnlineError)
}
CODE = re.compile(r"[A-Z]{1,4}[0-9]{1,2}")
NOT_CODES = {
    "F1",
    "C99",
    "C11",
    "M0",
    "M23",
    "M33",
    "M55",
    "M85",
    "AMD64",
    "INT8",
    "U55",
    "U65",
    "U85",
    "PADV2",
    "RELU6",
}
RANGE = re.compile(r"\b([A-Z]{1,4}[0-9]{1,2}) to [A-Z]{1,4}[0-9]{1,2}\b")
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sources()}


def documented() -> dict[str, str]:
    """Code -> family."""
    text = (DOCS / "errors.md").read_text(encoding="utf-8")
    rows = [
        row for table in tables(text) if table[0][:2] == ["code", "family"] for row in table[1:]
    ]
    assert len(rows) == len({row[0] for row in rows}), "a code is documented twice"
    assert all(len(row) == 4 and all(row) for row in rows)
    return {row[0]: row[1] for row in rows}


def rules() -> set[str]:
    """Codes of the rules that decisions name."""
    text = (DOCS / "errors.md").read_text(encoding="utf-8")
    found = [table for table in tables(text) if table[0][:2] == ["rule", "decision"]]
    return {row[0] for table in found for row in table[1:]}


def constants() -> dict[str, str]:
    """Every text in the sources that is a code -> where it stands."""
    return {
        node.value: f"{name_of(path)}:{node.lineno}"
        for path, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and CODE.fullmatch(node.value)
        and node.value not in NOT_CODES
    }


def raised() -> Iterator[tuple[str, str, str]]:
    """Code, family and place of every constructor, those in helper functions resolved."""
    for path, tree in TREES.items():
        helpers = dict(_helpers(tree))
        for call in _calls(tree):
            name = _name(call)
            family, position = (name, 0) if name in FAMILIES else helpers.get(name, ("", 0))
            code = call.args[position] if family and len(call.args) > position else None
            if isinstance(code, ast.Constant):
                yield str(code.value), family, f"{name_of(path)}:{call.lineno}"


def _helpers(tree: ast.Module) -> Iterator[tuple[str, tuple[str, int]]]:
    """Functions that hand one of their parameters on as the code: family and its position."""
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef):
            parameters = [argument.arg for argument in function.args.args]
            for call in _calls(function):
                code = call.args[0] if call.args else None
                known = _name(call) in FAMILIES and isinstance(code, ast.Name)
                if known and isinstance(code, ast.Name) and code.id in parameters:
                    yield function.name, (_name(call), parameters.index(code.id))


def _calls(tree: ast.AST) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def _name(call: ast.Call) -> str:
    function = call.func
    return getattr(function, "id", getattr(function, "attr", ""))


def test_the_scan_finds_what_is_raised_in_every_way() -> None:
    found = {code: family for code, family, _ in raised()}

    assert found["M1"] == "HandshakeError"  # a plain constructor
    assert found["K4"] == "ContractError"  # through a helper
    assert found["S1"] == "FirnlineError"  # the root itself
    assert {"C03", "D2"} <= set(constants())  # a Breach; a tuple in a loop


def test_every_code_is_documented() -> None:
    known = set(documented()) | rules()

    missing = {code: place for code, place in constants().items() if code not in known}

    assert missing == {}, "add a row to docs/errors.md"


def test_every_documented_code_exists() -> None:
    used = set(constants())

    assert set(documented()) - used == set()
    assert {rule for rule in rules() if CODE.fullmatch(rule)} - used == set()


def test_families_are_as_documented() -> None:
    known = documented()

    wrong = [
        f"{place}: {code} is a {family}, not a {known.get(code)}"
        for code, family, place in raised()
        if known.get(code) != family
    ]

    assert wrong == []
    assert set(known.values()) <= FAMILIES


def test_no_code_is_put_together() -> None:
    """A code must stand in the source as it is printed, or nobody can look for it."""
    put_together = [
        f"{name_of(path)}:{call.lineno}"
        for path, tree in TREES.items()
        for call in _calls(tree)
        if _name(call) in FAMILIES and call.args and isinstance(call.args[0], ast.JoinedStr)
    ]

    assert put_together == []


@pytest.mark.parametrize("path", [*sources(), *pages()], ids=name_of)
def test_codes_that_text_mentions_exist(path: Path) -> None:
    known = set(documented()) | rules()
    letters = {re.sub(r"\d", "", code) for code in documented()}
    if path.suffix == ".py":
        tree = TREES[path]
        nodes = (ast.Module, ast.ClassDef, ast.FunctionDef)
        text = "\n".join(
            ast.get_docstring(node) or "" for node in ast.walk(tree) if isinstance(node, nodes)
        )
    else:
        text = path.read_text(encoding="utf-8")

    # A range of codes may end where none is used yet; its first code must be there.
    text = RANGE.sub(r"\1", text)
    mentioned = {
        word
        for word in re.findall(r"(?<![\w.@-])[A-Z]{1,4}[0-9]{1,2}(?![\w.-])", text)
        if re.sub(r"\d", "", word) in letters and word not in NOT_CODES
    }

    assert mentioned - known == set()
