"""`firnline train`: train a chain of stages, or some of them, and register the candidate."""

from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from firnline.cli.run import figure, flow_job
from firnline.cli.show import aside, print_json, screen


def train_stages(
    ensemble: str, data: Path | None, only: list[str] | None, *, chain: bool, as_json: bool
) -> None:
    """Train, publish the stages' outputs and register; exit 1 with every breach when it fails."""

    def work(path: str | None) -> dict[str, Any]:
        from flows.train import train

        found = train(ensemble, path, only=only, chain=chain)
        return _described(found["train"], found["register"])

    document = flow_job(ensemble, data, work, as_json=as_json)
    if as_json:
        print_json(document)
    else:
        screen().print(_table(document))
        aside().print(f"[dim]{document['seconds']} s in all[/dim]")


def _described(trained: dict[str, Any], registered: dict[str, Any]) -> dict[str, Any]:
    test = trained["metrics"]["test"]
    return {
        "ensemble": registered["name"],
        "version": registered["version"],
        "reused": trained["reused"],
        "metrics": {name: test[name] for name in ("auc", "f1", "far", "mar")},
        "stages": [
            {
                "name": stage["name"],
                "digest": stage["digest"],
                "learned_from": stage["upstream"],
                "outputs": trained["outputs"][stage["name"]]["label"],
                "service": trained["outputs"][stage["name"]]["service"],
            }
            for stage in trained["stages"]
        ],
    }


def _table(document: dict[str, Any]) -> Table:
    table = Table.grid(padding=(0, 2))
    for stage in document["stages"]:
        learned = sorted(
            {
                f"{name.partition('.')[0]}#{found[:6]}"
                for name, found in stage["learned_from"].items()
            }
        )
        told = f"gives {stage['outputs']}"
        if learned:
            told += f", learned from {', '.join(learned)}"
        name = f"{stage['name']}#{stage['digest'][:6]}"
        table.add_row(f"[bold]{escape(name)}[/bold]", escape(told))
    metrics = document["metrics"]
    table.add_row("[bold]held out[/bold]", f"AUC {figure(metrics['auc'], '.3f')}")
    named = f"{document['ensemble']} version {document['version']} in MLflow, alias candidate"
    table.add_row("[bold]registered[/bold]", escape(named))
    return table
