"""A table of TOML read strictly into a frozen dataclass: what is not known is refused by name."""

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from firnline.errors import DeliveryError

T = TypeVar("T")
_LARGEST = float(1 << 53)
_MEND = "docs/reference/agent.md lists every key; `firnline-agent init` writes a file that is right"


def number(default: float | None, least: float, most: float = _LARGEST) -> Any:
    """A field of a dataclass that is a number within bounds."""
    return dataclasses.field(default=default, metadata={"least": least, "most": most})


def read(kind: type[T], table: Mapping[str, Any], where: str, base: Path) -> T:
    """A dataclass from a table of TOML.

    Args:
        kind: The dataclass; a field that is one itself is a table within the table.
        table: Key -> value.
        where: The file and table, for the error.
        base: Folder that relative paths start from.

    Raises:
        DeliveryError: U30, naming the key: not known, missing, of another type, or out of bounds.
    """
    assert isinstance(kind, type) and dataclasses.is_dataclass(kind)  # noqa: S101
    fields = {field.name: field for field in dataclasses.fields(kind)}
    hints = typing.get_type_hints(kind)
    for key in table:
        if key not in fields:
            near = difflib.get_close_matches(key, fields, 1)
            raise wrong(
                f"`{key}` is no key here" + (f"; the nearest is `{near[0]}`" if near else ""), where
            )
    made: dict[str, Any] = {}
    for name, field in fields.items():
        if name in table:
            value = _value(hints[name], table[name], f"{where}, {name}", base)
            made[name] = _bounded(field, value, f"{where}, {name}")
        elif field.default is field.default_factory is dataclasses.MISSING:
            raise wrong(f"`{name}` is missing", where)
    return kind(**made)


def wrong(found: str, where: str, mend: str = _MEND) -> DeliveryError:
    """The error for a configuration that cannot be used: U30."""
    return DeliveryError("U30", found=found, where=where, mend=mend)


def _value(hint: Any, value: Any, where: str, base: Path) -> Any:
    """A value as the type that a field wants."""
    if isinstance(hint, types.UnionType):
        (hint,) = (option for option in hint.__args__ if option is not types.NoneType)
    if dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
        return read(typing.cast(type, hint), value, where, base)
    if hint is Path and isinstance(value, str) and value and "\0" not in value:
        return _path(value, where, base)
    if hint is float and type(value) is int and abs(value) <= _LARGEST:
        return float(value)
    if hint in (str, int, float, bool) and type(value) is hint:
        return value
    if (
        typing.get_origin(hint) is tuple
        and isinstance(value, list)
        and all(isinstance(part, str) for part in value)
    ):
        return tuple(value)
    raise wrong(f"{str(value)[:60]!r} is no {_called(hint)}", where)


def _path(value: str, where: str, base: Path) -> Path:
    try:
        return (base / Path(value).expanduser()).absolute()
    except RuntimeError as error:  # `~name` of nobody here.
        raise wrong(f"{value[:60]!r}: {error}", where) from error


def _called(hint: Any) -> str:
    names = {str: "text", int: "whole number", float: "number", bool: "true or false", Path: "path"}
    if hint in names:
        return names[hint]
    return "table" if dataclasses.is_dataclass(hint) else "list of text"


def _bounded(field: "dataclasses.Field[Any]", value: Any, where: str) -> Any:
    if "least" in field.metadata:
        least, most = field.metadata["least"], field.metadata["most"]
        if not least <= value <= most:
            above = f" and at most {most:g}" if most < _LARGEST or value > most else ""
            told = f"{value:g}" if abs(value) <= _LARGEST else str(value)[:20]
            raise wrong(f"{told} is not at least {least:g}{above}", where)
    return value
