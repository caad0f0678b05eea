"""What a user-defined function computes, read from Feast's pickle of it without running any of it.

Feast keeps a function as text and as a dill pickle, and compares neither the constants and
helpers that the function reaches nor, for batch views, the function itself. Both are in the
pickle. Loading it would run code of whoever wrote it, so every callable it names is replaced by
one that only notes how it was called.
"""

import ast
import io
import pickle
import textwrap
from collections.abc import Iterator
from types import CodeType
from typing import Any

from firnline.contracts.source import shape
from firnline.digest import bytes_digest, digest

# Arguments of dill's `_create_code` that say what code computes, by their place since Python 3.11.
_CODE_PLACES = {"code": 7, "constants": 8, "names": 9, "locals": 10}
_CODE_ARGUMENTS = 19
_NO_MEANING = ("__name__", "__doc__", "__annotations__", "__builtins__", "__file__")


def computation(body: bytes, text: str) -> dict[str, Any]:
    """A function of a view as JSON values; layout, comments and decorators do not count.

    Args:
        body: Feast's dill pickle of the function.
        text: Its source, as Feast keeps it.

    Returns:
        `source`: digest of its syntax tree, where the text is the pickled function's;
        `code`: digest of its byte code otherwise; `reaches`: name -> what it stands for, for
        every constant, helper and module it uses.
    """
    root = _loaded(body)
    function = _as_function(root)
    tree = _function_tree(text)
    if function is None:
        source = digest(shape(tree)) if tree else ""
        return {"source": source, "pickle": bytes_digest(body)}
    reaches = {
        name: _value(value, {id(root)})
        for name, value in sorted(function["globals"].items())
        if name not in _NO_MEANING and value is not root
    }
    inner = {"defaults": function["defaults"], "closure": function["closure"]}
    reaches |= {name: _value(value, {id(root)}) for name, value in inner.items() if value}
    # Byte code differs between Python versions and text does not. But the text may be another
    # function's: Feast never compares the two, so it stands only where it compiles to the code.
    if tree is not None and function["code"] in _compiled(tree):
        return {"source": digest(shape(tree)), "reaches": reaches}
    return {"code": digest(function["code"]), "reaches": reaches}


class _Note:
    """A call that the pickle asks for, noted and not made."""

    def __init__(self, name: str, arguments: tuple[Any, ...] = ()) -> None:
        self.name = name
        self.arguments = arguments
        self.state: Any = None
        self.items: list[Any] = []

    def __call__(self, *arguments: Any) -> "_Note":
        match arguments:
            case (_Note() as changed, str(), _):
                # Attributes are set once all is made, and what that returns is thrown away; a
                # closure's values come so.
                changed.items.append(arguments[1:])
        return _Note(self.name, arguments)

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        self.items.append((key, value))

    def append(self, value: Any) -> None:
        """A list item of an object that the pickle makes."""
        self.items.append(value)


class _Inert(pickle.Unpickler):
    """Resolves every name to a note, so that loading runs nothing."""

    def find_class(self, module: str, name: str) -> Any:
        """The note of a name instead of what it stands for."""
        return _Note(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> Any:
        """Likewise for references out of the pickle."""
        return _Note(f"persistent {pid!r}")


def _loaded(body: bytes) -> Any:
    try:
        return _Inert(io.BytesIO(body)).load()
    except Exception:
        # Whatever cannot be read counts by its bytes: never by nothing.
        return None


def _as_function(value: Any) -> dict[str, Any] | None:
    """The parts of a function that dill took apart; None when it is no such thing."""
    if not isinstance(value, _Note) or not value.name.endswith("._create_function"):
        return None
    code, scope, _, defaults, closure = (*value.arguments, None, None, None, None, None)[:5]
    documented = value.state[1] if isinstance(value.state, tuple) else None
    document = documented.get("__doc__") if isinstance(documented, dict) else None
    return {
        "code": _noted_code(code, document),
        "globals": scope if isinstance(scope, dict) else {},
        "defaults": defaults,
        "closure": closure,
    }


def _noted_code(code: Any, document: Any = None) -> Any:
    if not isinstance(code, _Note):
        return repr(code)
    if len(code.arguments) != _CODE_ARGUMENTS:
        return _value(code.arguments, set())
    parts = {name: code.arguments[place] for name, place in _CODE_PLACES.items()}
    return _code(document=document, **parts)


def _code(code: bytes, constants: Any, names: Any, locals: Any, document: Any) -> dict[str, Any]:
    first, *others = constants or (None,)
    kept = [None if document is not None and first == document else first, *others]
    return {
        "code": bytes_digest(code),
        "constants": [_constant(value) for value in kept],
        "names": list(names),
        "locals": list(locals),
    }


def _constant(value: Any) -> Any:
    if isinstance(value, CodeType):
        return _real_code(value, None)
    if isinstance(value, _Note) and value.name.endswith("._create_code"):
        return _noted_code(value)
    return _value(value, set())


def _real_code(code: CodeType, document: Any) -> dict[str, Any]:
    return _code(code.co_code, code.co_consts, code.co_names, code.co_varnames, document)


def _value(value: Any, seen: set[int]) -> Any:
    """Something a function reaches, as JSON values."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float | complex):
        return repr(value)
    if isinstance(value, bytes | bytearray):
        return bytes_digest(bytes(value))
    if id(value) in seen:
        return "itself"
    seen = seen | {id(value)}
    if isinstance(value, dict):
        return [[_value(key, seen), _value(item, seen)] for key, item in value.items()]
    if isinstance(value, list | tuple):
        return [_value(item, seen) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((_value(item, seen) for item in value), key=repr)
    return _noted(value, seen) if isinstance(value, _Note) else repr(value)


def _noted(note: _Note, seen: set[int]) -> Any:
    function = _as_function(note)
    if function is not None:
        reached = {
            name: _value(item, seen)
            for name, item in sorted(function["globals"].items())
            if name not in _NO_MEANING
        }
        parts = {"code": function["code"], "reaches": reached}
        return parts | {
            name: _value(function[name], seen) for name in ("defaults", "closure") if function[name]
        }
    if note.name.endswith("._import_module"):
        return f"module {note.arguments[0]}"
    held = [_value(part, seen) for part in (note.arguments, note.state, note.items) if part]
    return [note.name, *held] if held else note.name


def _function_tree(text: str) -> ast.stmt | None:
    """The function's syntax, without decorators and docstring; None when it is no source."""
    try:
        statements = ast.parse(textwrap.dedent(text)).body
    except (SyntaxError, ValueError):
        return None
    if not statements:
        return None
    first = statements[0]
    if isinstance(first, ast.FunctionDef | ast.AsyncFunctionDef):
        first.decorator_list = []
        first.returns = None
        for argument in ast.walk(first.args):
            if isinstance(argument, ast.arg):
                argument.annotation = None
        opening = first.body[0]
        if isinstance(opening, ast.Expr) and isinstance(opening.value, ast.Constant):
            first.body = [*first.body[1:]] or [ast.Pass()]
    return first


def _compiled(tree: ast.stmt) -> list[dict[str, Any]]:
    """What each function in a statement compiles to here."""
    module = ast.fix_missing_locations(ast.Module(body=[tree], type_ignores=[]))
    try:
        code = compile(module, "<udf>", "exec")
    except (SyntaxError, ValueError):
        return []
    return [_real_code(inner, None) for inner in _inner(code)]


def _inner(code: CodeType) -> Iterator[CodeType]:
    for value in code.co_consts:
        if isinstance(value, CodeType):
            yield value
            yield from _inner(value)
