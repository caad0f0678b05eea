"""`firnline channel` as the shell sees it: releases on their way to devices."""

from pathlib import Path
from typing import Annotated

import typer

from firnline.contracts.places import TRACKS

channel = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


def _tracks(incomplete: str) -> list[str]:
    """What the shell completes a track to."""
    return [track for track in TRACKS if track.startswith(incomplete)]


def _ensembles(incomplete: str) -> list[str]:
    """What the shell completes an ensemble's name to."""
    from firnline.workload import names

    return [name for name in names(Path.cwd()) if name.startswith(incomplete)]


EnsembleArgument = Annotated[
    str, typer.Argument(help="An ensemble's name, or its folder.", autocompletion=_ensembles)
]
ChannelOption = Annotated[
    Path | None,
    typer.Option(help="The channel's folder. Default: .firnline/channel, or FIRNLINE_CHANNEL."),
]
PassphraseOption = Annotated[
    Path | None,
    typer.Option(
        help="File whose first line is the keys' passphrase. "
        "Default: FIRNLINE_CHANNEL_PASSPHRASE, else you are asked."
    ),
]
DaysOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="ROLE=DAYS",
        help="Days until what a role signs expires. May be given more than once.",
    ),
]
WaitOption = Annotated[float, typer.Option(min=0, help="Seconds to wait for another publisher.")]
ShareOption = Annotated[
    str, typer.Option(metavar="SHARE", help="Share of the track's devices: 0.1 or 10%.")
]
ReasonOption = Annotated[str, typer.Option(help="Why, in one sentence; devices see it.")]
ByOption = Annotated[
    str | None, typer.Option(help="Who gives their word. Default: the account's name.")
]
YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one machine-readable document.")]


@channel.callback()
def _channel() -> None:
    """Publish releases to devices, through a channel that they can verify.

    A repository of The Update Framework, served as plain files. Start with `init`, then `publish`
    what `firnline run` made, and `serve` it.
    """


@channel.command()
def init(
    keys: Annotated[
        Path | None,
        typer.Option(help="Folder for new keys. Default: .firnline/keys, or FIRNLINE_KEYS."),
    ] = None,
    key: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ROLE=URI",
            help="A role's key: file:PATH, env:NAME or pkcs11:...; made when it is not there. "
            "May be given more than once.",
        ),
    ] = None,
    people: Annotated[int, typer.Option(min=1, help="Keys of root, and of targets.")] = 3,
    threshold: Annotated[int, typer.Option(min=1, help="How many of those must sign.")] = 2,
    bins: Annotated[
        int, typer.Option(help="Bits of the hash that choose a bin: 5 make 32 bins a kind.")
    ] = 5,
    days: DaysOption = None,
    channel: ChannelOption = None,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a channel and its keys.

    What is printed last is the root, and its sha256, that every device is given.
    """
    from firnline.cli import channel_make as commands
    from firnline.cli.channel_open import Where, grouped, whole_days

    commands.make(
        Where(channel, passphrase_file),
        keys,
        people,
        threshold,
        bins,
        grouped(key),
        whole_days(days),
        as_json=as_json,
    )


@channel.command()
def publish(
    ensemble: Annotated[
        str | None,
        typer.Argument(
            help="An ensemble, whose last run's bundle is taken; none with --bundle.",
            autocompletion=_ensembles,
        ),
    ] = None,
    bundle: Annotated[Path | None, typer.Option(help="A bundle's folder instead.")] = None,
    track: Annotated[
        str,
        typer.Option(metavar="TRACK", help="canary, beta or stable.", autocompletion=_tracks),
    ] = "beta",
    share: ShareOption = "1",
    target: Annotated[
        list[str] | None,
        typer.Option(metavar="TARGET", help="Only this target. May be given more than once."),
    ] = None,
    proved: Annotated[
        bool, typer.Option("--proved", help="Leave out targets that no proof accepts.")
    ] = False,
    unproved: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TARGET=REASON", help="Let a target by that no proof accepts, and say why."
        ),
    ] = None,
    reason: ReasonOption = "",
    by: ByOption = None,
    channel: ChannelOption = None,
    passphrase_file: PassphraseOption = None,
    wait: WaitOption = 0.0,
    as_json: JsonOption = False,
) -> None:
    """Publish a bundle, and assign it to a track.

    Refused when the bundle is not whole, its stages or features do not belong together, or a
    proof did not accept. Publishing the same again changes nothing.
    """
    from firnline.cli import channel as commands
    from firnline.cli.channel_open import Where, pairs, person
    from firnline.cli.channel_open import share as parse

    if (ensemble is None) == (bundle is None):
        raise typer.BadParameter("give an ensemble, or --bundle")
    if proved and (target or unproved):
        raise typer.BadParameter("give --proved, or --target and --unproved")
    commands.publish(
        Where(channel, passphrase_file, wait),
        ensemble,
        bundle,
        track=track,
        share=parse(share),
        targets=target or None,
        proved=proved,
        unproved=pairs(unproved, "--unproved"),
        reason=reason,
        by=person(by),
        as_json=as_json,
    )


@channel.command()
def promote(
    ensemble: EnsembleArgument,
    to: Annotated[
        str,
        typer.Option(
            metavar="TRACK",
            help="The track that gets it: canary, beta or stable.",
            autocompletion=_tracks,
        ),
    ],
    share: ShareOption = "1",
    release: Annotated[
        str | None,
        typer.Option(
            metavar="DIGEST",
            help="Its digest, or the first six digits or more. Default: the newest there.",
        ),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="TRACK",
            help="Track to take it from. Default: go on with an unfinished rollout, else the "
            "track before.",
            autocompletion=_tracks,
        ),
    ] = None,
    reason: ReasonOption = "",
    by: ByOption = None,
    channel: ChannelOption = None,
    passphrase_file: PassphraseOption = None,
    wait: WaitOption = 0.0,
    as_json: JsonOption = False,
) -> None:
    """Give a published release to a track, or to more of it."""
    from firnline.cli import channel as commands
    from firnline.cli.channel_open import Where, person
    from firnline.cli.channel_open import share as parse

    commands.promote(
        Where(channel, passphrase_file, wait),
        ensemble,
        to=to,
        share=parse(share),
        release=release,
        source=source,
        reason=reason,
        by=person(by),
        as_json=as_json,
    )


@channel.command()
def rollback(
    ensemble: EnsembleArgument,
    track: Annotated[
        str,
        typer.Option(metavar="TRACK", help="The track to take back.", autocompletion=_tracks),
    ],
    reason: Annotated[str, typer.Option(help="Why, in one sentence; devices see it.")],
    release: Annotated[
        str | None,
        typer.Option(
            metavar="DIGEST",
            help="What to go back to: its digest, or the first six digits or more. "
            "Default: what stood before.",
        ),
    ] = None,
    by: ByOption = None,
    channel: ChannelOption = None,
    passphrase_file: PassphraseOption = None,
    wait: WaitOption = 0.0,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Give a whole track an older release.

    The assignment's version goes up, since devices take no lower one.
    """
    from firnline.cli import channel as commands
    from firnline.cli.channel_open import Where, person

    commands.rollback(
        Where(channel, passphrase_file, wait),
        ensemble,
        track=track,
        release=release,
        reason=reason,
        by=person(by),
        yes=yes,
        as_json=as_json,
    )


@channel.command()
def status(
    channel: ChannelOption = None,
    keys: Annotated[
        bool, typer.Option("--keys", help="Open every key, to see whether it signs.")
    ] = False,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show tracks, releases and shares, and who signs until when."""
    from firnline.cli.channel_open import Where
    from firnline.cli.channel_status import show_status

    show_status(Where(channel, passphrase_file), keys=keys, as_json=as_json)


@channel.command()
def serve(
    channel: ChannelOption = None,
    public: Annotated[
        Path | None, typer.Option(help="A public folder, as of a mirror. Default: the channel's.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8765,
    exposed: Annotated[
        bool, typer.Option("--exposed", help="Allow an address that other machines reach; no TLS.")
    ] = False,
) -> None:
    """Serve the channel to devices on this machine.

    Until SIGTERM or Ctrl-C. Any web server or bucket does the same with the channel's public
    folder.
    """
    from firnline.cli import channel_make as commands
    from firnline.cli.channel_open import folder

    commands.serve(public or folder(channel) / "public", host, port, exposed=exposed)
