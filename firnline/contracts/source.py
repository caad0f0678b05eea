"""What a function computes, as a value: the normalised source of all it reaches.

Comments, layout, docstrings and annotations do not count. Helpers and constants that it reaches
do, in its own module and in other modules of the same project. Definitions that it does not
reach do not count, so a new version of a view beside an old one leaves the old one's digest.
"""

import ast
import copy
import inspect
import sys
import sysconfig
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from firnline.digest import digest
from firnline.errors import HandshakeError

# A release of the platform must not give every feature in the field a new identity.
_PLATFORM = "firnline"

Name = tuple[ModuleType, str]
Bound = tuple[ast.stmt, frozenset[str]]


def transformation(function: Callable[..., Any], *, decorated: bool = False) -> dict[str, Any]:
    """A function and all of ours it reaches, as JSON values.

    Args:
        function: A function defined at the top level of a module with source.
        decorated: Leave out the function's own decorators, which say where it is used and not
            what it computes, as Feast's do.

    Returns:
        `root`: the function's name; `definitions`: a module's last name and the bound name, as
        `transforms.window_features` -> sha256 of its statements in order; `imports`: what it
        takes from elsewhere, sorted.

    Raises:
        HandshakeError: FV2 when it is no such function.
    """
    # A decorator may have given the function another module's name, as Feast's do.
    scope = getattr(function, "__globals__", {}) if decorated else {}
    home_name = scope.get("__name__") or getattr(function, "__module__", None) or ""
    module = sys.modules.get(home_name)
    name = getattr(function, "__qualname__", repr(function))
    if not isinstance(function, FunctionType) or module is None or not name.isidentifier():
        raise HandshakeError(
            "FV2",
            found=f"{name} is not a function at the top level of a module",
            where="WindowView.transform",
            mend="write the transformation as a plain function in a module",
        )
    home = module.__name__.partition(".")[0]
    definitions: dict[str, list[Any]] = {}
    imports: set[str] = set()
    pending: list[Name] = [(module, name)]
    seen: set[Name] = set()
    while pending:
        step = pending.pop()
        if step in seen:
            continue
        seen.add(step)
        for statement in _binding(*step):
            if decorated and step == (module, name) and isinstance(statement, ast.FunctionDef):
                statement.decorator_list = []
            if isinstance(statement, ast.Import | ast.ImportFrom):
                source, leads = _imported(*step, statement, home)
                imports |= {source} if not leads else set()
                pending += leads
                continue
            label = f"{step[0].__name__.rpartition('.')[2]}.{step[1]}"
            definitions.setdefault(label, []).append(shape(statement))
            pending += [(step[0], loaded) for loaded in _loads(statement)]
    # Digests and not the trees themselves: a line of features.lock holds the whole record.
    hashed = {label: digest(statements) for label, statements in sorted(definitions.items())}
    return {"root": name, "definitions": hashed, "imports": sorted(imports)}


def _imported(
    module: ModuleType, name: str, statement: ast.Import | ast.ImportFrom, home: str
) -> tuple[str, list[Name]]:
    """Where an imported name comes from, and what to follow there if it is ours."""
    alias = next(a for a in statement.names if name in (a.asname, a.name, a.name.split(".")[0]))
    value = getattr(module, name, None)
    if isinstance(statement, ast.Import):
        # `import a.b` binds `a`; what is used of it cannot be told apart, so all of a.b counts.
        found = sys.modules.get(alias.name)
        source = alias.name
    elif isinstance(value, ModuleType):
        found, source = value, value.__name__
    else:
        target = "." * statement.level + (statement.module or "")
        source = f"{_absolute(target, module.__package__ or '')}"
        found = sys.modules.get(source)
        if found is not None and _is_ours(found, home):
            return source, [(found, alias.name)]
        return f"{source}:{alias.name}", []
    if found is not None and _is_ours(found, home):
        return source, [(found, bound) for bound in _all_bound(found)]
    return source, []


def _absolute(target: str, package: str) -> str:
    level = len(target) - len(target.lstrip("."))
    if not level:
        return target
    base = package.split(".")[: len(package.split(".")) - level + 1]
    return ".".join([*base, *filter(None, [target.lstrip(".")])])


def _is_ours(module: ModuleType, home: str) -> bool:
    """Whether a module is of the project: not the platform, not installed, not Python's."""
    package = module.__name__.partition(".")[0]
    if package == _PLATFORM or not str(getattr(module, "__file__", None)).endswith(".py"):
        return False
    path = Path(str(module.__file__)).resolve()
    paths = sysconfig.get_paths()
    roots = {Path(paths[kind]).resolve() for kind in ("stdlib", "platstdlib", "purelib", "platlib")}
    return package == home or not any(path.is_relative_to(root) for root in roots)


def _statements(module: ModuleType) -> tuple[Bound, ...]:
    """Top-level statements, each with the names that it binds or changes."""
    try:
        return _parsed(inspect.getsource(module))
    except (OSError, TypeError) as error:
        raise HandshakeError(
            "FV2",
            found=f"module {module.__name__} has no source to read",
            where="WindowView.transform",
            mend="ship the module as a .py file",
        ) from error


@lru_cache(maxsize=64)  # a view's digest is asked for at every turn, and reads a module many times
def _parsed(text: str) -> tuple[Bound, ...]:
    return tuple((statement, frozenset(_binds(statement))) for statement in ast.parse(text).body)


def _binding(module: ModuleType, name: str) -> Iterator[ast.stmt]:
    """Top-level statements that bind or change a name, bare, in order."""
    for statement, names in _statements(module):
        if name in names:
            yield _Bare().visit(copy.deepcopy(statement))


def _all_bound(module: ModuleType) -> list[str]:
    return sorted({name for _, names in _statements(module) for name in names})


def _loads(statement: ast.stmt) -> list[str]:
    names = (node for node in ast.walk(statement) if isinstance(node, ast.Name))
    return sorted({node.id for node in names if isinstance(node.ctx, ast.Load)})


def _binds(statement: ast.stmt) -> set[str]:
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {statement.name}
    if isinstance(statement, ast.Import):
        return {alias.asname or alias.name.partition(".")[0] for alias in statement.names}
    if isinstance(statement, ast.ImportFrom):
        return {alias.asname or alias.name for alias in statement.names}
    bound: set[str] = set()
    for node in _same_scope(statement):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            bound.add(node.id)
        elif isinstance(node, ast.Attribute | ast.Subscript) and isinstance(node.ctx, ast.Store):
            bound |= _mentions(node.value)
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            # A bare call, such as TABLE.update(...), may change any name it mentions.
            bound |= _mentions(node)
        elif isinstance(node, ast.stmt) and node is not statement:
            bound |= _binds(node)
    return bound


def _mentions(node: ast.AST) -> set[str]:
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}


def _same_scope(node: ast.AST) -> Iterator[ast.AST]:
    """A node and its parts, but not the loop variables of comprehensions nor lambda bodies."""
    yield node
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.comprehension | ast.Lambda):
            yield from _same_scope(child)


class _Bare(ast.NodeTransformer):
    """Takes away what does not compute: docstrings, and annotations outside of classes."""

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        node.returns = None
        node.body = _without_docstring(node.body)
        self.generic_visit(node)
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.ClassDef:
        # Annotations in a class body are fields of a dataclass, so they stay.
        node.body = _without_docstring(node.body)
        for part in node.body:
            if isinstance(part, ast.FunctionDef):
                self.visit(part)
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.stmt:
        if node.value is None:
            return node
        return ast.Assign(targets=[node.target], value=node.value)


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    first = body[0].value if isinstance(body[0], ast.Expr) else None
    is_text = isinstance(first, ast.Constant) and isinstance(first.value, str)
    return body[1:] if is_text else body


def shape(node: Any) -> Any:
    """A syntax tree as JSON values that Python 3.11 and 3.12 agree on.

    `ast.unparse` prints f-strings differently in each and `ast.dump` gains fields, so only
    the fields that hold something are kept.
    """
    if isinstance(node, ast.JoinedStr):
        # Python 3.12 ends some f-strings with an empty text that 3.11 does not have.
        parts = [part for part in node.values if getattr(part, "value", None) != ""]
        return {"node": "JoinedStr", "values": shape(parts)}
    if isinstance(node, ast.AST):
        shaped = {
            name: shape(value)
            for name, value in ast.iter_fields(node)
            if name not in ("ctx", "kind", "type_comment") and value is not None and value != []
        }
        return {"node": type(node).__name__, **shaped}
    if isinstance(node, list):
        return [shape(item) for item in node]
    if node is None or isinstance(node, str | bool | int):
        return node
    return {"repr": repr(node)}
