"""`firnline check`: the conformance checks of an ensemble, and the mend of what breaks them."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from firnline import wiring
from firnline.cli.show import print_json, screen

if TYPE_CHECKING:
    from firnline.checks.finding import Finding
    from firnline.checks.tools import Tools, Widths


def check_ensemble(ensemble: str, *, as_json: bool) -> None:
    """Check everything; exit 1 when something is not good."""
    from threadpoolctl import threadpool_limits

    from firnline.checks.ensemble import check

    with threadpool_limits(1):
        lock = wiring.lock().digests()
        findings = check(ensemble, wiring.settings().project, tools(), lock)
    if as_json:
        listed = [asdict(finding) for finding in findings]
        print_json({"ensemble": ensemble, "good": findings.good, "findings": listed})
    else:
        screen().print(_table(findings))
        screen().print(_verdict(ensemble, findings))
    sys.exit(0 if findings.good else 1)


def tools() -> "Tools":
    """The real recipes and graphs."""
    from edge.quantize import layer_names
    from edge.targets import load
    from firnline.checks.tools import Tools
    from models.fit import recipe_of
    from models.float_onnx import StageGraph, merge, proto, run
    from models.recipe import Frame

    def layers(model: bytes) -> list[str]:
        return layer_names(proto(model))

    def target(name: str, project: Path) -> str:
        return load(name, project).about

    return Tools(Frame, recipe_of, StageGraph, merge, run, _widths, layers, target)


def _widths(model: bytes) -> "tuple[Widths, Widths]":
    from models.float_onnx import proto

    graph = proto(model).graph
    constants = {constant.name for constant in graph.initializer}
    given, made = (
        {
            value.name: dims[-1].dim_value or None
            for value in values
            if value.name not in constants and (dims := value.type.tensor_type.shape.dim)
        }
        for values in (graph.input, graph.output)
    )
    return given, made


def _table(findings: "list[Finding]") -> Table:
    table = Table.grid(padding=(0, 2))
    for finding in findings:
        mark = "[green]ok[/green]" if finding.good else "[red]no[/red]"
        text = escape(finding.found)
        if not finding.tried:
            mark = "[yellow]--[/yellow]"
        if finding.mend and not (finding.good and finding.tried):
            text += f"\n[bold]mend[/bold]  {escape(finding.mend)}"
        table.add_row(mark, finding.name, text)
    return table


def _verdict(ensemble: str, findings: "list[Finding]") -> str:
    broken = sum(not finding.good for finding in findings)
    untried = sum(not finding.tried for finding in findings)
    told = (
        f"{broken} of {len(findings)} checks ask for a mend"
        if broken
        else "all that was tried holds"
    )
    if untried:
        told += f"; {untried} not tried"
    return f"\n{ensemble}: {told}"
