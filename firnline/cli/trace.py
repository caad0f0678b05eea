"""`firnline trace`: what a mixed pair of stages would have done, and that it is refused."""

from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from firnline.cli.run import figure, flow_job, nearby
from firnline.cli.show import aside, print_json, screen

_PADDING = (0, 2, 0, 0)


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
        show(document)


def show(document: dict[str, Any]) -> None:
    """The trace on one screen: a row a pair, then AUC by fault, for every retraining."""
    from flows.trace_summary import told

    console = screen()
    pair = f"{document['stage']} / {', '.join(document['downstream'])}"
    for retraining in dict.fromkeys(draw["retraining"] for draw in document["draws"]):
        rows = [row for row in document["summary"] if row["retraining"] == retraining]
        console.print(f"\n[bold]{retraining}[/bold]  {escape(told(document, retraining))}")
        console.print(_pairs(pair, rows))
        if rows[0]["by_class"]:
            console.print(_faults(rows))
    console.print(
        f"\n[bold]report[/bold]  {escape(nearby(document['files']['html']))}", soft_wrap=True
    )
    console.print(f"[bold]mlflow[/bold]  run {document['mlflow']}")
    aside().print(f"[dim]{document['seconds']} s in all[/dim]")


def _pairs(pair: str, rows: list[dict[str, Any]]) -> Table:
    """A row a pair; mixed ones stand out."""
    from flows.trace_summary import changed

    table = Table(
        title=f"pairs of {escape(pair)}", title_justify="left", box=None, padding=_PADDING
    )
    table.add_column("pair", no_wrap=True)
    for name in ("AUC", "change", "false\nalarms %", "decisions\nchanged %", "calibration\nerror"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("handshake")
    for row in rows:
        figures = (
            (row["auc_change"], "+.3f"),
            (row["far"], ".2f"),
            (changed(row), ".2f"),
            (row["calibration_error"], ".3f"),
        )
        table.add_row(
            _label(row),
            figure(row["auc"] and row["auc"]["mean"], ".3f"),
            *(_cell(found, form) for found, form in figures),
            row["handshake"],
            style=None if row["matched"] else "yellow",
        )
    return table


def _faults(rows: list[dict[str, Any]]) -> Table:
    """AUC by fault, a column a pair."""
    table = Table(title="AUC by fault", title_justify="left", box=None, padding=_PADDING)
    table.add_column("fault")
    for row in rows:
        table.add_column(_label(row), justify="right", no_wrap=True)
    for name in rows[0]["by_class"]:
        table.add_row(escape(name), *(_cell(row["by_class"][name], ".3f") for row in rows))
    return table


def _label(row: dict[str, Any]) -> str:
    return f"v{row['upstream']} / v{row['downstream']}"


def _cell(found: dict[str, float] | None, form: str) -> str:
    """A mean, and the range over draws below it where there is one."""
    if found is None:
        return "-"
    mean, low, high = (format(found[name], form) for name in ("mean", "low", "high"))
    return mean if low == high else f"{mean}\n[dim]{low}..{high}[/dim]"
