"""`firnline trace`: what a mixed pair of stages would have done, and that it is refused."""

from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from firnline.cli.run import flow_job, nearby
from firnline.cli.show import aside, print_json, screen


def trace_ensemble(ensemble: str, data: Path | None, *, as_json: bool) -> None:
    """Run the experiment and show its table; exit 1 when it fails.

    Args:
        ensemble: Name or folder of the ensemble.
        data: Raw readings; the current snapshot when not given.
        as_json: Print one document instead of tables.
    """

    def work(path: str | None) -> dict[str, Any]:
        from flows.trace import trace

        return trace(ensemble, path)

    document = flow_job(ensemble, data, work, as_json=as_json)
    if as_json:
        print_json(document)
    else:
        _show(document)


def _show(document: dict[str, Any]) -> None:
    from flows.trace_summary import told

    console = screen()
    for retraining in dict.fromkeys(draw["retraining"] for draw in document["draws"]):
        console.print(f"\n[bold]{retraining}[/bold]  {escape(told(document, retraining))}")
        console.print(_pairs(document, retraining))
        if document["summary"][0]["by_class"]:
            console.print(_faults(document, retraining))
    console.print(f"\n[bold]report[/bold]  {escape(nearby(document['files']['html']))}")
    console.print(f"[bold]mlflow[/bold]  run {document['mlflow']}")
    aside().print(f"[dim]{document['seconds']} s in all[/dim]")


def _pairs(document: dict[str, Any], retraining: str) -> Table:
    """A row a pair; mixed ones stand out."""
    from flows.trace_summary import cells

    rows = [row for row in cells(document) if row["retraining"] == retraining]
    summary = [row for row in document["summary"] if row["retraining"] == retraining]
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in list(rows[0])[1:]:
        table.add_column(name, justify="left" if name in {"pair", "handshake"} else "right")
    for row, measured in zip(rows, summary, strict=True):
        style = None if measured["matched"] else "yellow"
        table.add_row(*(escape(cell) for cell in list(row.values())[1:]), style=style)
    return table


def _faults(document: dict[str, Any], retraining: str) -> Table:
    """AUC by fault, a column a pair."""
    from flows.trace_summary import faults

    rows = faults(document, retraining)
    table = Table(title="AUC by fault", title_justify="left", box=None, padding=(0, 2, 0, 0))
    for name in rows[0]:
        table.add_column(name, justify="left" if name == "fault" else "right")
    for row in rows:
        table.add_row(*(escape(cell) for cell in row.values()))
    return table
