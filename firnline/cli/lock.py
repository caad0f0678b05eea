"""`firnline lock`: what is published, what would change it, and who reads it."""

import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from firnline import wiring
from firnline.cli.show import print_json, screen
from firnline.contracts.lock import Line, Lock, differences, joined

if TYPE_CHECKING:
    from firnline.checks.lock import Inspection


def check_lock(base: str | None, *, as_json: bool) -> None:
    """Check everything the lock speaks of; exit 1 on a breach.

    Args:
        base: The commit that published lines are compared with; the last one when not given.
        as_json: Print one document instead of a table.

    Raises:
        HandshakeError: L8 when there is no such commit.
    """
    from firnline.checks.lock import inspect

    found = inspect(wiring.settings().project, wiring.outputs_lock(), base)
    if as_json:
        print_json(
            {
                "good": not found.breaches,
                "versions": [line.label for line in found.lock],
                "base": found.compared,
                "breaches": [breach.document() for breach in found.breaches],
            }
        )
    else:
        _show_inspection(found)
    sys.exit(1 if found.breaches else 0)


def add_versions(wanted: Sequence[str], ensembles: Sequence[str], *, as_json: bool) -> None:
    """Publish what the ensembles' feature modules define.

    Args:
        wanted: Names (`device_window`) or references (`device_window@v2`); all when empty.
        ensembles: Whose views; those of every ensemble when empty.
        as_json: Print one document instead of lines.

    Raises:
        HandshakeError: L1 a version is published with another digest; L2, L3 or L5 the file is
            broken; L7 nothing of a name is defined; or why an ensemble cannot be loaded.
    """
    from firnline.adapters.lock_file import place, project_lock_path, publish
    from firnline.checks.versions import chosen

    project = wiring.settings().project
    added = publish(project, chosen(wanted, ensembles, project))
    file = place(project_lock_path(project), project)
    if as_json:
        print_json({"file": file, "added": [line.label for line in added]})
        return
    for line in added:
        screen().print(f"published {escape(line.label)} in {escape(file)}", soft_wrap=True)
        _show_words(_since(line, wiring.lock()))
    if not added:
        screen().print("everything is published already")


def show_version(name: str, *, as_json: bool) -> None:
    """Print a version's record.

    Args:
        name: A name (the newest), reference or label.
        as_json: Print one document instead of a table.

    Raises:
        HandshakeError: L7 when there is no such version.
    """
    line, published = _find(name)
    if as_json:
        print_json(_document(line, published) | {"digest": line.digest, "record": line.record})
        return
    table = Table.grid(padding=(0, 2))
    for key, text in _rows(line):
        table.add_row(f"[bold]{escape(key)}[/bold]", escape(text))
    screen().print(f"[bold]{escape(line.label)}[/bold]{_mark(published)}")
    screen().print(table)


def compare(first: str, second: str, *, as_json: bool) -> None:
    """Say in words what differs between two versions, and who reads either.

    Args:
        first: A name (the newest), reference or label.
        second: Another.
        as_json: Print one document instead of text.

    Raises:
        HandshakeError: L7 when there is no such version.
    """
    found = [_find(first), _find(second)]
    before, after = (line for line, _ in found)
    words = differences(before.record, after.record)
    if as_json:
        readers = {line.label: _readers(line) for line, _ in found}
        document = {"from": before.label, "to": after.label}
        print_json({**document, "differences": words, "readers": readers})
        return
    screen().print(f"[bold]{escape(before.label)} -> {escape(after.label)}[/bold]")
    _show_words(words or ["they mean the same"])
    for line, published in dict.fromkeys(found):
        screen().print()
        _show_readers(line, published)


def explain(name: str, *, as_json: bool) -> None:
    """Say who reads a version, itself or through the outputs of a stage.

    Args:
        name: A name (the newest), reference or label.
        as_json: Print one document instead of a table.

    Raises:
        HandshakeError: L7 when there is no such version.
    """
    line, published = _find(name)
    if as_json:
        print_json(_document(line, published) | _readers(line))
    else:
        _show_readers(line, published)


def _find(name: str) -> tuple[Line, bool]:
    from firnline.checks.versions import find

    lock = joined({"features.lock": wiring.lock(), "outputs.lock": _outputs()})
    return find(name, lock, wiring.settings().project)


def _outputs() -> Lock:
    from firnline.adapters.lock_file import read_lock

    return read_lock(wiring.outputs_lock())


def _document(line: Line, published: bool) -> dict[str, Any]:
    return {"reference": line.reference, "label": line.label, "published": published}


def _readers(line: Line) -> dict[str, Any]:
    """Stages, stage outputs, services and models that read a version."""
    from firnline.adapters.readers import readers
    from firnline.checks.versions import stage_readers

    chosen = wiring.settings()
    stages = [asdict(reader) for reader in stage_readers(line, chosen.project)]
    return {"stages": stages, **asdict(readers(chosen.state, line, _outputs()))}


def _since(line: Line, lock: Lock) -> list[str]:
    """What is new in a version, next to the one before it."""
    name, number = line.order
    older = [each for each in lock if each.order[0] == name and each.order[1] < number]
    if not older:
        return []
    words = differences(older[-1].record, line.record)
    return [f"since {older[-1].label}: {word}" for word in words or ["nothing but its number"]]


def _rows(line: Line) -> list[tuple[str, str]]:
    rows = [("digest", line.digest)]
    for key, value in line.record.items():
        if key == "fields":
            rows.append((key, "\n".join(f"{name} {dtype}" for name, dtype in value)))
        elif key not in ("name", "version"):
            rows.append((key, "\n".join(_flat(value))))
    return rows


def _flat(value: Any) -> list[str]:
    """A value of a record as lines: `path firnline://device_window_v1`."""
    if isinstance(value, dict):
        return [f"{key} {line}" for key, inner in value.items() for line in _flat(inner)]
    if isinstance(value, list):
        return [line for inner in value for line in _flat(inner)]
    return [str(value)]


def _mark(published: bool) -> str:
    return "" if published else "  [yellow]not published[/yellow]"


def _show_words(words: Sequence[str]) -> None:
    for word in words:
        screen().print(f"  {escape(word)}", soft_wrap=True)


def _show_readers(line: Line, published: bool) -> None:
    found = _readers(line)
    stages = [
        f"{reader['ensemble']}.{reader['stage']}"
        + (f" through {reader['through']}" if reader["through"] else "")
        for reader in found["stages"]
    ]
    table = Table.grid(padding=(0, 2))
    for kind, names in {**found, "stages": stages}.items():
        table.add_row(f"  {kind}", escape("\n".join(names)) or "[dim]none[/dim]")
    screen().print(f"[bold]who reads {escape(line.label)}[/bold]{_mark(published)}")
    screen().print(table)


def _show_inspection(found: "Inspection") -> None:
    table = Table.grid(padding=(0, 2))
    for breach in found.breaches:
        text = f"{escape(breach.where)}: {escape(breach.found)}"
        mend = f"[bold]mend[/bold]  {escape(breach.mend)}"
        table.add_row(f"[red]{breach.code}[/red]", f"{text}\n{mend}")
    screen().print(table)
    told = f"{len(found.breaches)} breaches" if found.breaches else "nothing has changed"
    against = f"compared with {found.compared}" if found.compared else "not in git, so not compared"
    screen().print(f"{len(found.lock)} published versions, {escape(against)}: {told}")
