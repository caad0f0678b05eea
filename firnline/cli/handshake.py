"""`firnline handshake`: do these stages and features belong together? For people and for CI."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from firnline import wiring
from firnline.cli.show import print_json, screen
from firnline.contracts.breach import Breach
from firnline.contracts.declared_facts import of_manifest
from firnline.contracts.facts import of_document
from firnline.contracts.handshake import Facts, check
from firnline.errors import FirnlineError
from firnline.workload import locate, views


def shake(target: str, *, as_json: bool) -> None:
    """Check an ensemble as it is defined and was last trained, or a bundle; exit 1 on a breach.

    Args:
        target: An ensemble's name or folder, or the folder of a bundle.
        as_json: Print one document instead of a table.
    """
    folder = Path(target)
    stages, breaches = _bundle(folder) if (folder / "bundle.json").exists() else _ensemble(target)
    if as_json:
        listed = [breach.document() for breach in breaches]
        print_json({"target": target, "good": not breaches, "stages": stages, "breaches": listed})
    else:
        screen().print(_table(stages, breaches))
        told = f"{len(breaches)} breaches" if breaches else "everything belongs together"
        screen().print(f"\n{escape(target)}: {told}")
    sys.exit(1 if breaches else 0)


def _ensemble(name: str) -> tuple[dict[str, str], list[Breach]]:
    from flows.kept import remembered

    workload = locate(name, wiring.settings().project)
    lock = wiring.lock().digests()
    defined = of_manifest(workload.manifest, views(workload), lock)
    breaches = list(check(defined))
    last = remembered(workload.name)
    if last is not None:
        trained = of_document(last["facts"], "the last training")
        breaches += check(replace(trained, lock=lock))
        return _digests(trained), list(dict.fromkeys(breaches))
    return _digests(defined), breaches


def _bundle(folder: Path) -> tuple[dict[str, str], list[Breach]]:
    from edge.load import gather
    from edge.verify import verify

    lock = wiring.lock().digests()
    try:
        facts = gather(folder, "server", lock=lock)
        breaches = list(check(facts))
        if not breaches:
            verify(folder)
        return _digests(facts), breaches
    except FirnlineError as error:
        return {}, [Breach(error.code, error.found, error.where, error.mend)]


def _digests(facts: Facts) -> dict[str, Any]:
    return {stage.name: stage.digest for stage in facts.stages}


def _table(stages: dict[str, str], breaches: list[Breach]) -> Table:
    table = Table.grid(padding=(0, 2))
    for name, found in stages.items():
        table.add_row("[bold]stage[/bold]", name, f"#{found[:12]}" if found else "not trained yet")
    for breach in breaches:
        text = f"{escape(breach.where)}: {escape(breach.found)}"
        table.add_row(
            f"[red]{breach.code}[/red]", text, f"[bold]mend[/bold]  {escape(breach.mend)}"
        )
    return table
