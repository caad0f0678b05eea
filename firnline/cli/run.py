"""`firnline run`: the main job on a local Prefect server."""

import logging
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from rich.markup import escape
from rich.table import Table

from firnline import wiring
from firnline.cli.services import api_address
from firnline.cli.show import RunProgress, aside, print_json, screen, show_error
from firnline.errors import FirnlineError
from firnline.workload import locate


def run_job(ensemble: str, data: Path | None, protocol: str | None, *, as_json: bool) -> None:
    """Run the flows in order; exit 1 with the failed step named when one fails."""

    def work(path: str | None) -> dict[str, Any]:
        from flows.main import reproduce, run

        return reproduce(ensemble, protocol, path) if protocol else run(ensemble, path)

    document = flow_job(ensemble, data, work, as_json=as_json)
    if as_json:
        print_json(document)
    else:
        show_summary(document)


def flow_job(
    ensemble: str,
    data: Path | None,
    work: Callable[[str | None], dict[str, Any]],
    *,
    as_json: bool,
) -> dict[str, Any]:
    """Run a flow on a Prefect server of its own, with progress; exit 1 when it fails.

    Args:
        ensemble: Whose flow.
        data: Raw readings, as the command was given them.
        work: Imports and calls the flow, given the readings' absolute path.
        as_json: Stay quiet, and print an error as JSON.

    Returns:
        What the flow gave, and the `seconds` it took.
    """
    started = time.monotonic()
    with RunProgress(quiet=as_json) as progress:
        try:
            document = _served(ensemble, data, work, progress)
        except FirnlineError as error:
            progress.__exit__()
            fail(error, progress.step, as_json=as_json)
        except Exception as error:
            progress.__exit__()
            fail(unexpected(error, progress.step), progress.step, as_json=as_json)
    return {**document, "seconds": round(time.monotonic() - started, 1)}


def _served(
    ensemble: str,
    data: Path | None,
    work: Callable[[str | None], dict[str, Any]],
    progress: RunProgress,
) -> dict[str, Any]:
    path = str(data.expanduser().resolve()) if data else None
    _check_arguments(ensemble, path)
    progress.start("server", "starting Prefect")
    wiring.prefect_environment()
    running = api_address()
    if running is not None:
        # Two servers on one SQLite database would lock each other out.
        os.environ.setdefault("PREFECT_API_URL", running)
    from flows.local_server import connected, local_server

    with local_server(wiring.settings().state) as server:
        import flows.steps  # noqa: F401  (Prefect sets up its logging when a flow is imported)
        from flows.progress import reporting

        # A flow that fails is shown once, by us; Prefect's traceback would only repeat it.
        logging.getLogger("prefect").setLevel(logging.CRITICAL)
        with connected(server()), reporting(progress):
            return work(path)


def _check_arguments(ensemble: str, data: str | None) -> None:
    """Refuse what cannot work before a server is started for it."""
    from firnline.adapters.source_files import matching
    from firnline.contracts.reading import load

    workload = locate(ensemble, wiring.settings().project)
    contract = load(workload.contract)
    if data is not None:
        matching(Path(data), contract.files.readings)


def fail(error: FirnlineError, step: str | None, *, as_json: bool) -> NoReturn:
    """Show an error, for machines too where they asked, and exit 1."""
    if as_json:
        print_json({"error": {"step": step, **error.document()}})
    show_error(error, step)
    sys.exit(1)


def unexpected(error: Exception, step: str | None) -> FirnlineError:
    """An error nobody foresaw: keep its traceback in a file, and say where."""
    log_path = wiring.settings().state / "logs" / f"{step or 'run'}-{os.getpid()}.log"
    log_path.parent.mkdir(parents=True, exist_ok=True)
    log_path.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
    return FirnlineError(
        "S9",
        found=f"{type(error).__name__}: {error}",
        where=f"step {step}" if step else "the run",
        mend=f"the traceback is in {log_path}; running again resumes at this step",
    )


def show_summary(document: dict[str, Any]) -> None:
    """The run on one screen."""
    console = screen()
    if "table" in document.get("metrics", {}):
        console.print(score_table(document["metrics"]["table"]))
    if "features" not in document:
        return
    table = Table.grid(padding=(0, 2))
    table.add_column()
    # A path that does not fit goes on in the next line, so that it can be copied.
    table.add_column(overflow="fold")
    for name, text in summary_rows(document):
        table.add_row(f"[bold]{name}[/bold]", escape(text))
    console.print()
    console.print(table)
    aside().print(f"[dim]{document['seconds']} s in all[/dim]")


def summary_rows(document: dict[str, Any]) -> list[tuple[str, str]]:
    """Name and text of each line of the summary."""
    quarantined = document["quarantined"]
    stages = ", ".join(f"{stage['name']}#{stage['digest'][:6]}" for stage in document["stages"])
    views = ", ".join(view["label"] for view in document["features"]["views"])
    parity, metrics = document["parity"], document["metrics"]
    rows = [
        ("ensemble", document["ensemble"]),
        ("snapshot", f"{document['snapshot'][:12]}  {document['readings']:,} readings, "
                     f"{sum(quarantined.values()):,} quarantined"),
        ("features", f"{views}  ({document['features']['rows']:,} training rows)"),
        ("stages", stages),
        ("held out", f"AUC {figure(metrics['auc'], '.3f')}  F1 {figure(metrics['f1'], '.2f')}  "
                     f"FAR {figure(metrics['far'], '.1f')} %  "
                     f"MAR {figure(metrics['mar'], '.1f')} %"),
    ]  # fmt: skip
    if metrics.get("by_class"):
        worst = sorted(metrics["by_class"].items(), key=lambda item: item[1])
        rows.append(("by fault", "  ".join(f"{name} {auc:.2f}" for name, auc in worst)))
    rows += [
        ("int8", f"agrees on {100 * parity['agreement']:.2f} % of decisions, AUC "
                 f"{figure(parity['auc_float'], '.3f')} -> "
                 f"{figure(parity['auc_int8'], '.3f')}"),
        ("targets", "  ".join(_target(name, found) for name, found in document["targets"].items())),
        ("shadow", f"{document['shadow']['verdict']}: {document['shadow']['reason']}"),
        ("drift", f"{document['drift']['verdict']}: {document['drift']['reason']}"),
        ("window", f"{document['window']['verdict']}: {document['window']['reason']}"),
        ("reused", ", ".join(document["reused"]) or "nothing"),
        ("bundle", f"{nearby(document['bundle']['path'])}  #{document['bundle']['digest'][:12]}"),
        ("report", nearby(document["drift"]["report"])),
    ]  # fmt: skip
    if document.get("offer"):
        rows.append(("offer", _offer(document["offer"])))
    return rows


def _offer(found: dict[str, Any]) -> str:
    """What became of the release's offer, or what to type."""
    if found["verdict"] != "waiting":
        return f"{found['verdict']}: {found['reason']}"
    return f"approve with: {found['command']}"


def _target(name: str, found: dict[str, Any]) -> str:
    """One target in a word: what its proof came to."""
    if found["bytes_differ"] is None:
        return f"{name} {found['verdict']}"
    exact = "exact" if found["bytes_differ"] == 0 else f"{found['bytes_differ']:,} bytes differ"
    return f"{name} {exact}"


def figure(value: float | None, form: str) -> str:
    """A figure, or a dash where there were no labels to take it from."""
    return "-" if value is None else format(value, form)


def nearby(path: str) -> str:
    """A path as seen from here, where it lies below."""
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else path


def score_table(rows: list[dict[str, Any]]) -> Table:
    """Scores beside published ones."""
    table = Table(title="pooled test rows", title_justify="left")
    table.add_column("method")
    for name in ("F1", "FAR %", "MAR %", "AUC"):
        table.add_column(name, justify="right")
    for row in rows:
        auc = figure(row.get("auc"), ".3f")
        style = "bold" if row.get("ours") else None
        table.add_row(
            row["method"],
            figure(row["f1"], ".3f"),
            figure(row["far"], ".2f"),
            figure(row["mar"], ".2f"),
            auc,
            style=style,
        )
    return table
