"""`firnline channel`: releases into the channel, on to more of the fleet, and back."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from firnline import wiring
from firnline.cli import channel_open
from firnline.cli.channel_open import Where
from firnline.cli.promote import last_run
from firnline.cli.show import aside, print_json, screen
from firnline.contracts.offer import refusal
from firnline.workload import locate

if TYPE_CHECKING:
    from edge.channel.assigned import Assigned
    from edge.channel.publish import Published

_DIGITS = 12


def publish(
    where: Where,
    ensemble: str | None,
    bundle: Path | None,
    *,
    track: str,
    share: float,
    targets: Sequence[str] | None,
    proved: bool,
    unproved: Mapping[str, str],
    reason: str,
    by: str,
    as_json: bool,
) -> None:
    """Publish a bundle, settle its offer, and write down on whose word.

    Args:
        where: The channel.
        ensemble: Whose last run's bundle; none with `bundle`.
        bundle: A bundle's folder.
        track: Track that gets it.
        share: Share of that track's fleet.
        targets: Which of its targets; all when not given.
        proved: Those that a proof accepts, instead.
        unproved: Target -> why it goes by without an accepting proof.
        reason: Why, in one sentence.
        by: Who gives their word.
        as_json: Print one document instead of text.

    Raises:
        EvidenceError: E4 there is no candidate, E98 its offer is superseded, V7 a proof did not
            accept.
        HandshakeError: H0 to H8, its stages or features do not belong together here.
        DeliveryError: D1 to D9, the bundle is not whole; a V-code, the channel refuses it.
    """
    from edge.channel.publish import publish as to_channel
    from edge.device_bundle import targets_of

    path, expected = _bundle(ensemble, bundle)
    chosen = _accepted(path) if proved else targets
    with aside().status("checking the bundle, building what each target gets"):
        made = to_channel(
            channel_open.repository(where),
            path,
            track=track,
            share=share,
            targets=chosen,
            unproved=unproved,
            reason=reason,
            lock=wiring.lock().digests(),
            expected=expected,
        )
    decision = channel_open.record(
        "publication",
        "published",
        subject=made.ensemble,
        by=by,
        reason="; ".join(filter(None, [f"to {100 * made.share:g} % of {made.track}", reason])),
        numbers={
            "track": made.track,
            "share": made.share,
            "version": made.version,
            "targets": ", ".join(made.targets),
            "unproved": ", ".join(made.unproved) or None,
            "left_out": ", ".join(sorted(targets_of(path).keys() - made.targets)) or None,
        },
        inputs={
            "bundle": made.release,
            **{f"manifest {target}": pin.sha256 for target, pin in made.targets.items()},
        },
    )
    wiring.offers().settle(
        made.ensemble, made.release, verdict="published", by=by, reason=decision.reason
    )
    if as_json:
        print_json(made.document())
    else:
        _show_published(made)


def promote(
    where: Where,
    ensemble: str,
    *,
    to: str,
    share: float,
    release: str | None,
    source: str | None,
    reason: str,
    by: str,
    as_json: bool,
) -> None:
    """Assign a published release to a track, or to more of it, and write it down.

    Args:
        where: The channel.
        ensemble: Its name.
        to: The track.
        share: Share of that track's fleet.
        release: Digest or its start; what is rolled out when not given.
        source: Track to take it from.
        reason: Why, in one sentence.
        by: Who gives their word.
        as_json: Print one document instead of text.

    Raises:
        DeliveryError: V8, V10, V11, or V1 to V6.
    """
    from edge.channel.promote import promote as forward

    repo = channel_open.repository(where)
    name = _name(ensemble)
    done = forward(repo, name, to, share, release=release, source=source, reason=reason)
    _told("promotion", "promoted", done, by, reason, as_json=as_json)


def rollback(
    where: Where,
    ensemble: str,
    *,
    track: str,
    release: str | None,
    reason: str,
    by: str,
    yes: bool,
    as_json: bool,
) -> None:
    """Give a track an older release, and write it down.

    Args:
        where: The channel.
        ensemble: Its name.
        track: The track.
        release: Digest or its start; the one that stood before when not given.
        reason: Why, in one sentence.
        by: Who gives their word.
        yes: Do not ask.
        as_json: Print one document instead of text.

    Raises:
        DeliveryError: V8 there is nothing to go back to, V34 nobody can be asked, or V1 to V6.
    """
    from edge.channel.rollback import rollback as back

    name = _name(ensemble)
    repo = channel_open.repository(where)
    goal = f"release {release[:_DIGITS]}" if release else "the release before"
    repo.state()
    channel_open.confirm(f"Give all of {track} {goal} of {name}?", yes=yes)
    done = back(repo, name, track, release=release, reason=reason)
    _told("rollback", "rolled back", done, by, reason, as_json=as_json)


def _bundle(ensemble: str | None, bundle: Path | None) -> tuple[Path, str | None]:
    """A bundle and the digest it must have; the one that was named has its own."""
    if bundle is not None:
        return bundle, None
    name = _name(str(ensemble))
    run = last_run(name)
    offered = wiring.offers().get(name, run["bundle"]["digest"])
    if offered is not None and offered.verdict == "superseded":
        raise refusal(offered)
    return Path(run["bundle"]["path"]), run["bundle"]["digest"]


def _accepted(bundle: Path) -> list[str]:
    """Targets of a bundle that a proof accepts."""
    from edge.channel.publish import ACCEPT
    from edge.device_bundle import targets_of

    return [target for target, verdict in targets_of(bundle).items() if verdict == ACCEPT]


def _name(ensemble: str) -> str:
    """An ensemble's name; one that a channel alone knows is taken as it is."""
    from firnline.errors import HandshakeError

    try:
        return locate(ensemble, wiring.settings().project).name
    except HandshakeError:
        return ensemble


def _told(
    kind: str, verdict: str, done: "Assigned", by: str, reason: str, *, as_json: bool
) -> None:
    """Write an assignment down, and say it."""
    channel_open.record(
        kind,
        verdict,
        subject=done.ensemble,
        by=by,
        reason="; ".join(filter(None, [f"to {100 * done.share:g} % of {done.track}", reason])),
        numbers={"track": done.track, "share": done.share, "version": done.version},
        inputs={"bundle": done.release, **({"before": done.before} if done.before else {})},
    )
    if as_json:
        print_json(done.document())
        return
    what = f"{done.ensemble} {done.release[:_DIGITS]}"
    mark = verdict if done.changed else "unchanged"
    screen().print(
        f"{mark}  {escape(what)}  {bar(done.share)} of {done.track}, assignment {done.version}",
        soft_wrap=True,
    )


def bar(share: float, width: int = 10) -> str:
    """A share as a bar and a percentage."""
    full = min(width, max(round(share * width), int(share > 0)))
    return f"{'█' * full}{'░' * (width - full)} {100 * share:g} %"


def _show_published(made: "Published") -> None:
    console = screen()
    mark = "published" if made.changed else "unchanged"
    console.print(
        f"{mark}  {escape(made.ensemble)} {made.release[:_DIGITS]}  {bar(made.share)} of "
        f"{made.track}, assignment {made.version}",
        soft_wrap=True,
    )
    table = Table(box=None, header_style="bold")
    for name in ("target", "manifest", "note"):
        table.add_column(name)
    for target, pin in made.targets.items():
        note = made.unproved.get(target)
        table.add_row(
            escape(target), pin.sha256[:_DIGITS], escape(f"unproved: {note}") if note else ""
        )
    console.print(table)
    console.print(f"{made.parts:,} new parts of {made.bytes:,} bytes")


def show(document: Mapping[str, Any], line: str, *, as_json: bool) -> None:
    """What was done: one document, or one line."""
    if as_json:
        print_json(dict(document))
    else:
        screen().print(line, soft_wrap=True)
