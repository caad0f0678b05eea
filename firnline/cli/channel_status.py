"""`firnline channel status` and `expire`: who signs, until when, and what devices get."""

import sys
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Literal

from rich.markup import escape
from rich.table import Table

from firnline.cli import channel_open
from firnline.cli.channel import bar
from firnline.cli.channel_open import Where
from firnline.cli.show import print_json, screen

if TYPE_CHECKING:
    from edge.channel.renew import Renewed
    from edge.channel.status import RoleStatus, Status

Period = Callable[[str], int]


def show_status(where: Where, *, keys: bool, as_json: bool) -> None:
    """Print what stands in a channel.

    Args:
        where: The channel.
        keys: Open every key that this machine knows, to see whether it signs.
        as_json: Print one document instead of tables.

    Raises:
        DeliveryError: V1 there is none, V6 it does not verify, V12 or V33.
    """
    from edge.channel.status import status

    repo = channel_open.repository(where)
    found = status(repo, open_keys=keys)
    if as_json:
        print_json(found.document())
        return
    console = screen()
    console.print(
        f"[bold]{escape(str(repo.folder))}[/bold]  root {found.root_version}, sha256 "
        f"{found.root_sha256}",
        soft_wrap=True,
    )
    for table in (_tracks(found), _releases(found), roles(found.roles, repo.config.period)):
        console.print()
        console.print(table)
    for name in found.staged:
        console.print(f"[yellow]waiting for signatures: {escape(name)}[/yellow]", soft_wrap=True)
    if found.orphans:
        console.print(
            f"{found.orphans:,} files that nothing names: `firnline channel sweep` removes them"
        )


def renew(where: Where, within: float | None, *, as_json: bool) -> None:
    """Renew what can be renewed here; exit 1 when something needs people.

    Args:
        where: The channel.
        within: Days before its end that a role is renewed; each role's own when not given.
        as_json: Print one document instead of a table.

    Raises:
        DeliveryError: V1, V5, V6, V12 or V33.
    """
    from edge.channel.renew import renew as sign_anew
    from edge.channel.status import status

    repo = channel_open.repository(where)
    done = sign_anew(repo, None if within is None else timedelta(days=within))
    found = status(repo)
    if as_json:
        print_json({**done.document(), "roles": found.document()["roles"]})
    else:
        screen().print(roles(found.roles, repo.config.period))
        _show_renewed(done)
    sys.exit(1 if done.waiting else 0)


def roles(found: Sequence["RoleStatus"], period: Period) -> Table:
    """Roles with their keys and the days they have left.

    Args:
        found: The roles.
        period: Days for which a role signs.
    """
    table = Table(box=None, header_style="bold")
    for name in ("role", "version", "must sign", "days left", "keys here"):
        table.add_column(name, justify="left" if name in {"role", "keys here"} else "right")
    for role in found:
        usable = sum(key.usable for key in role.keys)
        # Keys of people are elsewhere on purpose; a role that signs unattended needs its own.
        colour = "red" if role.online and usable < role.threshold else "default"
        problems = {key.problem for key in role.keys if key.problem}
        told = f"{usable} of {len(role.keys)}" + (f" ({', '.join(problems)})" if problems else "")
        table.add_row(
            role.name,
            str(role.version),
            f"{role.threshold} of {len(role.keys)}",
            _days(role.days, period(role.name)),
            f"[{colour}]{escape(told)}[/{colour}]",
        )
    return table


def _days(left: int, period: int) -> str:
    """Days as a colour: of a role's whole period, a quarter is little and none is the end."""
    if left < 0:
        return f"[bold red]expired {-left} ago[/bold red]"
    colour = "red" if 4 * left < period else "yellow" if 2 * left < period else "green"
    return f"[{colour}]{left}[/{colour}]"


def _tracks(found: "Status") -> Table:
    table = Table(box=None, header_style="bold")
    for name in ("track", "ensemble", "assignment", "release", "share", "reason"):
        justify: Literal["left", "right"] = "right" if name == "assignment" else "left"
        table.add_column(name, justify=justify, no_wrap=name != "reason")
    for each in found.tracks:
        for first, (release, share) in enumerate(each.shares.items()):
            about = (each.track, escape(each.ensemble), str(each.version))
            table.add_row(
                *(about if not first else ("", "", "")),
                release[:12],
                bar(share),
                "" if first else escape(each.reason),
            )
    if not found.tracks:
        table.add_row("[dim]nothing is assigned[/dim]")
    return table


def _releases(found: "Status") -> Table:
    table = Table(box=None, header_style="bold")
    for name in ("ensemble", "release", "on", "targets"):
        table.add_column(name)
    for each in found.releases:
        tracks = ", ".join(each.tracks) or "[dim]no track[/dim]"
        targets = escape(", ".join(each.targets))
        table.add_row(escape(each.ensemble), each.release[:12], tracks, targets)
    if not found.releases:
        table.add_row("[dim]nothing is published[/dim]")
    return table


def _show_renewed(done: "Renewed") -> None:
    console = screen()
    listed = ", ".join(done.renewed) or "nothing"
    console.print(f"renewed: {listed}", soft_wrap=True)
    for due in done.waiting:
        text = f"{due.role} needs people, within {due.days} days: {escape(due.why)}"
        console.print(f"[red]{text}[/red]", soft_wrap=True)
