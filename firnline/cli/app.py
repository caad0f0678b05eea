"""The commands, in the order of a day's work."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    name="firnline",
    no_args_is_help=True,
    # Plain help: importing rich would double the time of `firnline --help`.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help=(
        "Release models to fleets of edge devices, with features that cannot change under them.\n\n"
        "Start with `firnline run refrigeration`: it simulates a fleet and walks the "
        "whole chain, from raw readings to a verified int8 bundle."
    ),
)


def _known_ensembles(incomplete: str) -> list[str]:
    """What the shell completes an ensemble's name to."""
    from firnline.workload import names

    return [name for name in names(Path.cwd()) if name.startswith(incomplete)]


EnsembleArgument = Annotated[
    str,
    typer.Argument(
        help="An ensemble's name, or the folder of its ensemble.toml.",
        autocompletion=_known_ensembles,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one machine-readable document.")]


@app.command()
def run(
    ensemble: EnsembleArgument,
    data: Annotated[
        Path | None,
        typer.Option(help="Raw readings: a file or a folder. Default: the current snapshot."),
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(help="Reproduce a published protocol of the ensemble instead."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Run the main job: raw readings to judged bundle.

    The steps are ingest, features, train, export, shadow, drift and window. What is whole from
    an earlier run is reused.
    """
    from firnline.cli.run import run_job

    run_job(ensemble, data, protocol, as_json=as_json)


@app.command()
def promote(
    ensemble: EnsembleArgument,
    override: Annotated[
        str | None,
        typer.Option(help="Reason to promote although the shadow has not accepted."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make the newest candidate the live model.

    Its shadow verdict must allow it.
    """
    from firnline.cli.promote import promote_candidate

    promote_candidate(ensemble, override, as_json=as_json)


@app.command()
def check(ensemble: EnsembleArgument, as_json: JsonOption = False) -> None:
    """Check a whole ensemble, yours or ours.

    Manifest, reading contract, features, recipes and how they fit together; every breach at once.
    """
    from firnline.cli.check import check_ensemble

    check_ensemble(ensemble, as_json=as_json)


@app.command()
def simulate(
    out: Annotated[Path, typer.Option(help="Folder to write; must be new or empty.")],
    devices: Annotated[int, typer.Option(min=1, help="Refrigeration devices.")] = 200,
    days: Annotated[int, typer.Option(min=1, help="Days of readings, one a minute.")] = 7,
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = 42,
    force: Annotated[bool, typer.Option(help="Replace what is in the folder.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Simulate a labelled refrigeration fleet."""
    from firnline.cli.simulate import simulate_fleet

    simulate_fleet(out, devices, days, seed, force=force, as_json=as_json)


@app.command()
def doctor(as_json: JsonOption = False) -> None:
    """Say what is missing on this machine."""
    from firnline.cli.doctor import examine

    examine(as_json=as_json)


@app.command()
def up() -> None:
    """Start the local services and deploy the flows.

    A Prefect server, an MLflow server and a process worker, on loopback alone.
    """
    from firnline.cli.services import start

    start()


@app.command()
def down() -> None:
    """Stop exactly what `firnline up` started."""
    from firnline.cli.services import stop

    stop()


def _version(wanted: bool) -> None:
    if wanted:
        from firnline import __version__

        typer.echo(f"firnline {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass
