"""`firnline reconcile`: is what models are served what they were trained on."""

from typing import Any

from rich.markup import escape
from rich.table import Table

from firnline.cli.run import flow_job
from firnline.cli.show import aside, print_json, screen


def reconcile_ensemble(ensemble: str, sample: int, *, as_json: bool) -> None:
    """Compare windows offline, online and computed anew; exit 1 when they do not agree."""

    def work(path: str | None) -> dict[str, Any]:
        from flows.reconcile import reconcile

        return reconcile(ensemble, path, sample)

    document = flow_job(ensemble, None, work, as_json=as_json)
    if as_json:
        print_json(document)
        return
    table = Table.grid(padding=(0, 2))
    for name, text in _rows(document):
        table.add_row(f"[bold]{name}[/bold]", escape(text))
    screen().print(table)
    aside().print(f"[dim]{document['seconds']} s in all[/dim]")


def _rows(document: dict[str, Any]) -> list[tuple[str, str]]:
    numbers = document["numbers"]
    versions = [name for name in document["inputs"] if "@" in name]
    return [
        (document["subject"], f"{document['verdict']}: {document['reason']}"),
        ("versions", ", ".join(versions)),
        ("tolerance", f"{numbers['tolerance']:g}"),
        ("limit", f"{100 * numbers['share_limit']:g} % of values, and of windows"),
    ]
