"""`firnline channel init` and `serve`: a channel from nothing, and to devices on this machine."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from firnline import wiring
from firnline.cli import channel_open
from firnline.cli.channel_open import Where
from firnline.cli.show import aside, print_json, screen

if TYPE_CHECKING:
    from edge.channel.init import Initialised


def make(
    where: Where,
    keys: Path | None,
    people: int,
    threshold: int,
    bins: int,
    uris: Mapping[str, Sequence[str]],
    days: Mapping[str, int],
    *,
    as_json: bool,
) -> None:
    """Make a channel with its keys, and leave the root that devices are given.

    Args:
        where: The channel.
        keys: Folder for new keys; the project's own when not given.
        people: Keys of root and of targets.
        threshold: How many of those must sign.
        bins: Bits of a path's hash that choose its bin.
        uris: Role -> URIs of its keys.
        days: Role -> days until what it signs expires.
        as_json: Print one document instead of text.

    Raises:
        DeliveryError: V1 to V5, V12 or V33.
    """
    from edge.channel.init import GIVEN, init

    place = keys.resolve() if keys else wiring.settings().key_folder
    if not uris and any(place.glob("root-*.pem")):
        aside().print(
            f"[yellow]the keys in {escape(str(place))} are used again.[/yellow] A channel that was "
            "lost comes back with `firnline channel restore`: devices take no new root."
        )
    made = init(
        channel_open.folder(where.channel),
        place,
        secrets=channel_open.asking(where.passphrase, new=True),
        people=people,
        threshold=threshold,
        bits=bins,
        uris=uris,
        days=days,
    )
    given = made.folder / GIVEN
    if as_json:
        print_json({**made.document(), "root": str(given) if made.root else None})
    else:
        _show_made(made, given, place)


def serve(public: Path, host: str, port: int, *, exposed: bool) -> None:
    """Serve a channel's public folder until it is told to end.

    Args:
        public: The folder.
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.
        exposed: Allow an address that other machines reach.

    Raises:
        DeliveryError: V30 no channel lies there, V31 others would reach it, V32 it cannot listen.
    """
    from edge.channel import serve as server

    def ready(address: str) -> None:
        print(f"serving {public} at {address}", flush=True)
        if exposed and not server.is_loopback(host):
            aside().print("[yellow]other machines reach it, and there is no TLS[/yellow]")

    server.serve(public, host, port, exposed=exposed, ready=ready)


def _show_made(made: "Initialised", given: Path, keys: Path) -> None:
    table = Table(box=None, header_style="bold")
    table.add_column("role")
    table.add_column("must sign", justify="right")
    table.add_column("keys")
    for role, held in made.keys.items():
        names = ", ".join(uri.rpartition("/")[2] for uri in held.values())
        table.add_row(role, f"{made.thresholds[role]} of {len(held)}", escape(names))
    console = screen()
    console.print(table)
    if made.staged:
        waiting = "\n".join(f"  {escape(str(path))}" for path in made.staged)
        console.print(f"waiting for signatures\n{waiting}", soft_wrap=True)
        aside().print(
            "Whoever holds a key of root or targets signs with `firnline channel sign FILE --key "
            "URI`, on a machine of their own; `firnline channel apply` then makes the channel.",
            soft_wrap=True,
            style="yellow",
        )
        return
    console.print(f"channel  {escape(str(made.folder))}", soft_wrap=True)
    console.print(f"root     {escape(str(given))}", soft_wrap=True)
    console.print(f"sha256   {made.sha256}", soft_wrap=True)
    aside().print(
        f"Give every device that root, and compare its sha256 by another way. The keys lie in "
        f"{escape(str(keys))}: those of root and targets belong on machines of their own, where "
        "`firnline channel sign` uses them.",
        soft_wrap=True,
        style="yellow",
    )
