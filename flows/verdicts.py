"""Verdicts where people look: Prefect artifacts, as a table and a link."""

from pathlib import Path
from typing import Any

from prefect.artifacts import create_link_artifact, create_table_artifact


def summarise(document: dict[str, Any]) -> str:
    """One line of a step that decided: the verdict and why."""
    decision = document["decision"]
    return f"{decision['verdict']}: {decision['reason']}"


def publish(
    ensemble: str, decision: dict[str, Any], *, reused: bool, report: Path | None = None
) -> None:
    """Show a decision as a Prefect artifact of the running flow; a reused one is there already.

    Args:
        ensemble: Whose decision.
        decision: As `firnline.decision.Decision.document` gives it.
        reused: The decision was made by an earlier run.
        report: A page that tells more.
    """
    if reused:
        return
    kind = str(decision["kind"])
    key = f"{ensemble}-{kind}".replace("_", "-")
    rows = [{"what": "verdict", "value": decision["verdict"]}]
    rows += [{"what": name, "value": str(value)} for name, value in decision["numbers"].items()]
    create_table_artifact(key=key, table=rows, description=str(decision["reason"]))
    if report is not None:
        create_link_artifact(key=f"{key}-report", link=report.as_uri(), link_text=f"{kind} report")
