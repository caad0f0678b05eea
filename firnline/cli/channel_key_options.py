"""`firnline channel` as the shell sees it: its keys, its ceremonies, and its upkeep."""

from pathlib import Path
from typing import Annotated

import typer

from firnline.cli.channel_options import (
    ByOption,
    ChannelOption,
    DaysOption,
    JsonOption,
    PassphraseOption,
    WaitOption,
    YesOption,
    channel,
)

__all__ = ["channel"]

UriArgument = Annotated[str, typer.Argument(help="file:PATH, env:NAME or pkcs11:token=...;id=...")]


@channel.command("rotate-keys")
def rotate_keys(
    roles: Annotated[
        list[str],
        typer.Argument(help="Whose keys: root, targets, beta, cpu, snapshot, timestamp ..."),
    ],
    key: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[ROLE=]URI",
            help="All its keys from now on, one option each; made when not there. ROLE is needed "
            "with several. Default: one new file in the key folder.",
        ),
    ] = None,
    threshold: Annotated[
        int | None, typer.Option(min=1, help="How many must sign. Default: as many as now.")
    ] = None,
    reason: Annotated[str, typer.Option(help="Why, in one sentence.")] = "",
    by: ByOption = None,
    channel: ChannelOption = None,
    passphrase_file: PassphraseOption = None,
    wait: WaitOption = 0.0,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Give roles other keys, all in one rotation.

    There is no moment at which devices refuse the channel. What is lost together is replaced
    together. Where the keys at hand are not enough, what is to be signed is staged for `sign`
    and `apply`.
    """
    from firnline.cli import channel_keys
    from firnline.cli.channel_open import Where, person

    channel_keys.rotate(
        Where(channel, passphrase_file, wait),
        roles,
        key or [],
        threshold,
        by=person(by),
        reason=reason,
        yes=yes,
        as_json=as_json,
    )


@channel.command()
def expire(
    within: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Days before its end that a role is renewed. Default: half its period, 30 for "
            "root and targets.",
        ),
    ] = None,
    channel: ChannelOption = None,
    passphrase_file: PassphraseOption = None,
    wait: WaitOption = 0.0,
    as_json: JsonOption = False,
) -> None:
    """Renew what expires soon, and tell what needs people.

    What the keys here can sign is signed anew. Status 1 when something needs people. A channel
    that expires is refused by every device.
    """
    from firnline.cli.channel_open import Where
    from firnline.cli.channel_status import renew

    renew(Where(channel, passphrase_file, wait), within, as_json=as_json)


@channel.command()
def key(
    uri: UriArgument,
    public: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write its public half there, for --key ROLE=public:FILE."
        ),
    ] = None,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a key, or show the public half of one that is there."""
    from firnline.cli import channel_keys

    channel_keys.key(uri, public, passphrase_file, as_json=as_json)


@channel.command()
def stage(
    role: Annotated[str, typer.Argument(help="root or targets.")],
    channel: ChannelOption = None,
    passphrase_file: PassphraseOption = None,
    wait: WaitOption = 0.0,
    as_json: JsonOption = False,
) -> None:
    """Stage root or targets with a new expiry, for people to sign."""
    from firnline.cli import channel_keys
    from firnline.cli.channel_open import Where

    channel_keys.stage(Where(channel, passphrase_file, wait), role, as_json=as_json)


@channel.command()
def sign(
    file: Annotated[Path, typer.Argument(help="What waits in the channel's ceremony folder.")],
    key: Annotated[str, typer.Option(metavar="URI", help="Your key.")],
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add your signature to what is staged.

    Needs the file and your key, no channel. Compare the sha256 that is printed with the others
    who sign.
    """
    from firnline.cli import channel_keys

    channel_keys.sign(file, key, passphrase_file, as_json=as_json)


@channel.command()
def apply(
    channel: ChannelOption = None,
    passphrase_file: PassphraseOption = None,
    wait: WaitOption = 0.0,
    as_json: JsonOption = False,
) -> None:
    """Bring what is staged into force, once enough have signed."""
    from firnline.cli import channel_keys
    from firnline.cli.channel_open import Where

    channel_keys.apply(Where(channel, passphrase_file, wait), as_json=as_json)


@channel.command()
def restore(
    root: Annotated[
        list[Path],
        typer.Option(
            metavar="FILE", help="The root that devices were given; without --mirror all, in a row."
        ),
    ],
    mirror: Annotated[
        Path | None, typer.Option(help="Any copy of the public folder; it needs no trust.")
    ] = None,
    key: Annotated[
        list[str] | None,
        typer.Option(metavar="[ROLE=]URI", help="A key; its role is needed without --mirror."),
    ] = None,
    keys: Annotated[
        Path | None, typer.Option(help="Folder of key files. Default: .firnline/keys.")
    ] = None,
    above: Annotated[
        int | None, typer.Option(min=0, help="Highest version that a device may have seen.")
    ] = None,
    days: DaysOption = None,
    channel: ChannelOption = None,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Build a lost channel anew, for devices to go on with.

    From a mirror with all that it holds, or from its keys alone with nothing published.
    """
    from firnline.cli import channel_keys
    from firnline.cli.channel_open import Where, whole_days

    where, periods = Where(channel, passphrase_file), whole_days(days)
    channel_keys.restore(where, mirror, root, key or [], keys, above, periods, as_json=as_json)


@channel.command()
def sweep(
    keep: Annotated[
        int, typer.Option(min=1, help="Newest assignments of each track whose releases stay.")
    ] = 10,
    channel: ChannelOption = None,
    passphrase_file: PassphraseOption = None,
    wait: WaitOption = 0.0,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Remove old releases, and what a killed publisher left.

    A release goes once none of the newest assignments of any track names it.
    """
    from firnline.cli import channel_keys
    from firnline.cli.channel_open import Where

    channel_keys.sweep(Where(channel, passphrase_file, wait), keep, yes=yes, as_json=as_json)
