"""The commands, in the order of a day's work."""

from pathlib import Path
from typing import Annotated

import typer

from firnline.cli.channel_key_options import channel
from firnline.cli.export_options import export
from firnline.cli.walk_options import walk

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


def _known_versions(incomplete: str) -> list[str]:
    """What the shell completes a feature version to."""
    from firnline import wiring

    return [line.reference for line in wiring.lock() if line.reference.startswith(incomplete)]


VersionArgument = Annotated[
    str,
    typer.Argument(
        help="device_window (the newest), device_window@v1, or its label with the digest.",
        autocompletion=_known_versions,
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
def train(
    ensemble: EnsembleArgument,
    data: Annotated[
        Path | None,
        typer.Option(help="Raw readings: a file or a folder. Default: the current snapshot."),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(help="Train this stage; the others stay as they were registered."),
    ] = None,
    chain: Annotated[
        bool, typer.Option(help="Train the stages that read a trained one as well.")
    ] = True,
    as_json: JsonOption = False,
) -> None:
    """Train stages, publish what they give, and register the candidate.

    Stages that would be fed by another version than they learned from are not registered.
    """
    from firnline.cli.train import train_stages

    train_stages(ensemble, data, only, chain=chain, as_json=as_json)


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
def handshake(
    target: Annotated[
        str, typer.Argument(help="An ensemble's name or folder, or the folder of a bundle.")
    ],
    as_json: JsonOption = False,
) -> None:
    """Check that stages and features belong together; every breach at once.

    An ensemble as it is defined and was last trained, or a bundle as a server would load it.
    """
    from firnline.cli.handshake import shake

    shake(target, as_json=as_json)


@app.command()
def trace(
    ensemble: EnsembleArgument,
    data: Annotated[
        Path | None,
        typer.Option(help="Raw readings: a file or a folder. Default: the current snapshot."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure what a mixed pair of stages would have done.

    Encoder and classifier of two trainings, all four pairs on the same held-out rows.
    """
    from firnline.cli.trace import trace_ensemble

    trace_ensemble(ensemble, data, as_json=as_json)


app.command()(walk)


@app.command()
def reconcile(
    ensemble: EnsembleArgument,
    sample: Annotated[int, typer.Option(min=1, help="Device-windows to compare.")] = 1000,
    as_json: JsonOption = False,
) -> None:
    """Compare served features with those trained on.

    Random windows from the offline store, the online store and a fresh computation.
    """
    from firnline.cli.reconcile import reconcile_ensemble

    reconcile_ensemble(ensemble, sample, as_json=as_json)


lock = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
app.add_typer(lock, name="lock")


@lock.callback()
def _lock() -> None:
    """Publish feature versions, and keep them as they are.

    features.lock holds one line a version, which never changes and never goes.
    """


@lock.command("check")
def lock_check(
    base: Annotated[
        str | None,
        typer.Option(help="Commit or branch that published lines are compared with."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check that nothing published has changed; every breach at once.

    The lines themselves, what git had of them, the views that are defined, and what stages read.
    """
    from firnline.cli.lock import check_lock

    check_lock(base, as_json=as_json)


@lock.command("add")
def lock_add(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]...", help="Views to publish. Default: all not yet."),
    ] = None,
    ensemble: Annotated[
        list[str] | None,
        typer.Option(help="Only views of this ensemble.", autocompletion=_known_ensembles),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Publish versions of views; what is published stays as it is.

    Lines that a merge has left out of order, or twice, are brought into order as well.
    """
    from firnline.cli.lock import add_versions

    add_versions(names or [], ensemble or [], as_json=as_json)


@lock.command("show")
def lock_show(name: VersionArgument, as_json: JsonOption = False) -> None:
    """Show what a version means."""
    from firnline.cli.lock import show_version

    show_version(name, as_json=as_json)


@lock.command("diff")
def lock_diff(first: VersionArgument, second: VersionArgument, as_json: JsonOption = False) -> None:
    """Say in words what differs between two versions, and who reads them."""
    from firnline.cli.lock import compare

    compare(first, second, as_json=as_json)


@lock.command("why")
def lock_why(name: VersionArgument, as_json: JsonOption = False) -> None:
    """Say who reads a version: stages, their outputs, services and registered models."""
    from firnline.cli.lock import explain

    explain(name, as_json=as_json)


app.command()(export)
app.add_typer(channel, name="channel")


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
def doctor(
    target: Annotated[
        str | None, typer.Option(help="Look at what this target needs instead.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Say what is missing on this machine."""
    from firnline.cli.doctor import examine

    examine(target, as_json=as_json)


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
