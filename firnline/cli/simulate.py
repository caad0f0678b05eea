"""`firnline simulate`: a labelled fleet as files."""

import dataclasses
from pathlib import Path

from rich.table import Table

from firnline.cli.show import RunProgress, print_json, screen


def simulate_fleet(
    out: Path, devices: int, days: int, seed: int, *, force: bool, as_json: bool
) -> None:
    """Simulate and say what was written."""
    from firnline.sim.fleet import FleetSpec
    from firnline.sim.write import simulate

    spec = FleetSpec(devices=devices, days=days, seed=seed)
    with RunProgress(quiet=as_json) as progress:
        progress.start("simulate", f"{devices} devices, {days} days")
        summary = simulate(spec, out, force=force, progress=progress.advance)
    document = {**dataclasses.asdict(summary), "out": str(out)}
    if as_json:
        print_json(document | {"paths": [str(path) for path in document.get("paths", ())]})
        return
    table = Table.grid(padding=(0, 2))
    for name, value in document.items():
        shown = f"{value:,}" if isinstance(value, int) else str(value)
        table.add_row(f"[bold]{name}[/bold]", shown)
    screen().print(table)
