"""Who reads a feature version: services in Feast's registry, models in MLflow's.

Their SQLite files are opened read-only and neither library is imported: that takes seconds, and
both would make a database where there is none.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from firnline.contracts.lock import Line

# Field numbers of Feast's messages; a protobuf message never reuses one.
_SERVICE_SPEC, _SPEC_FEATURES, _PROJECTION_VIEW = 1, 3, 1


@dataclass(frozen=True)
class Readers:
    """What reads one version.

    Attributes:
        outputs: Labels of the stage outputs that are computed from it.
        services: Feast services, by name.
        models: Registered models, as `refrigeration version 3 (live)`.
    """

    outputs: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    models: tuple[str, ...] = ()


def readers(state: Path, line: Line, outputs: Iterable[Line]) -> Readers:
    """Everything outside of the manifests that reads a version, directly or through a stage.

    Args:
        state: The state folder, with Feast's and MLflow's databases.
        line: The version.
        outputs: Every published version of stage outputs.
    """
    made = _computed_from(line, tuple(outputs))
    tables = {line.table, *(each.table for each in made)}
    services = feast_services(state / "feast" / "registry.db")
    models = {
        model: None
        for each in (line, *made)
        for model in registered_models(state / "mlflow" / "mlflow.db", each)
    }
    return Readers(
        tuple(each.label for each in made),
        tuple(service for service, views in services.items() if views & tables),
        tuple(sorted(models, key=_by_number)),
    )


def _computed_from(line: Line, outputs: tuple[Line, ...]) -> tuple[Line, ...]:
    """Stage outputs whose model reads the version, or reads outputs that do."""
    reached = {line.reference}
    while more := {
        each.reference
        for each in outputs
        if each.reference not in reached and reached & {*each.record.get("reads", {})}
    }:
        reached |= more
    return tuple(each for each in outputs if each.reference in reached and each != line)


def _by_number(model: str) -> tuple[str, int]:
    name, _, version = model.partition(" version ")
    return name, int(version.partition(" ")[0])


def feast_services(registry: Path) -> dict[str, frozenset[str]]:
    """Service -> names of the views it reads, by name; empty where there is no registry.

    Args:
        registry: Feast's SQL registry, a SQLite file.
    """
    rows = _rows(registry, "feature_services", "feature_service_name, feature_service_proto")
    return {name: frozenset(_views(bytes(message))) for name, message in sorted(rows)}


def registered_models(database: Path, line: Line) -> Iterator[str]:
    """Registered model versions that read a feature version, by name and number.

    A stage's model is tagged with labels; an ensemble's with the facts of its handshake, which
    also tell whose outputs a stage learned from.

    Args:
        database: MLflow's SQLite file; there need not be one.
        line: The version.
    """
    aliases: dict[tuple[str, int], list[str]] = {}
    for name, number, alias in sorted(
        _rows(database, "registered_model_aliases", "name, version, alias")
    ):
        aliases.setdefault((name, int(number)), []).append(alias)
    found = {
        (name, int(number))
        for name, number, key, value in _rows(
            database, "model_version_tags", "name, version, key, value"
        )
        if _tells(key, value or "", line)
    }
    for model in sorted(found):
        called = f" ({', '.join(aliases[model])})" if model in aliases else ""
        yield f"{model[0]} version {model[1]}{called}"


def _tells(key: str, value: str, line: Line) -> bool:
    if key == "features":
        return line.label in value.split(", ")
    if key != "firnline.handshake":
        return False
    try:
        stages = json.loads(value)["stages"]
        read = {found for stage in stages for _, found in stage["features"]}
        learned = {found for stage in stages for found in stage["learned_from"].values()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return False
    return line.digest in read or line.record.get("model") in learned


def _views(message: bytes) -> Iterator[str]:
    for spec in _fields(message, _SERVICE_SPEC):
        for projection in _fields(spec, _SPEC_FEATURES):
            for name in _fields(projection, _PROJECTION_VIEW):
                yield name.decode("utf-8", errors="replace")


def _fields(message: bytes, number: int) -> Iterator[bytes]:
    """The values of a text or message field, in order; a field may repeat."""
    # protobuf ships no types; a message whose fields are all unknown can be read without Feast's.
    from google.protobuf.empty_pb2 import Empty  # type: ignore[import-untyped]
    from google.protobuf.unknown_fields import UnknownFieldSet  # type: ignore[import-untyped]

    for found in UnknownFieldSet(Empty.FromString(message)):
        if found.field_number == number and isinstance(found.data, bytes):
            yield found.data


def _rows(database: Path, table: str, columns: str) -> list[Any]:
    """Rows of a table; none where there is no such file or table."""
    if not database.is_file():
        return []
    with closing(sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True)) as opened:
        there = opened.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)).fetchone()
        return opened.execute(f"SELECT {columns} FROM {table}").fetchall() if there else []
