"""The hourly look at the channel: expiry, keys, and whether it still holds what it assigns.

Online roles are renewed here; what needs people fails the run well before devices would notice, so
that an automation can tell them. Runs of `publish` are looked after as well: approved ones that
failed are started again, those that wait for nothing more are ended.
"""

from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

from prefect import flow

from firnline import wiring
from firnline.decision import Decision
from firnline.errors import DeliveryError
from flows.channel_audit import damage
from flows.failed_runs import Again, start_again
from flows.steps import Document
from flows.verdicts import publish
from flows.waiting_runs import end_superseded, release_settled

if TYPE_CHECKING:
    from edge.channel.renew import Renewed
    from edge.channel.status import Status

KIND = "channel"
_WAIT_SECONDS = 60.0  # For another publisher.
_MEND = {
    "V9": "sign it anew where its keys are: firnline channel stage, sign, then apply; "
    "docs/key-ceremony.md tells how",
    "V2": "bring the key back, or rotate it: firnline channel rotate-keys",
    "V6": "rebuild the channel from a mirror: firnline channel restore",
    "V15": "mend what its run failed with, then type the command above, or retry the run",
}
_URGENT = ("V6", "V2", "V15", "V9")


@flow(name="watch", validate_parameters=False)
def watch(within_days: float | None = None) -> Document:
    """Renew what can be renewed, and tell what needs people.

    Args:
        within_days: How long before its expiry a role is looked after; half its period when not
            given, and a month for what people sign.

    Returns:
        The decision's document.

    Raises:
        DeliveryError: V9 a role expires soon and its keys are not here, V2 a key of an online role
            cannot be used, V6 the channel does not verify or has lost what it assigns, V15 an
            approved release is not published however often that was begun, V17 the clock cannot
            be right, V16 the file system refused, V1 there is no channel.
        EvidenceError: E95, a file is no offer.
    """
    from edge.channel.renew import renew
    from edge.channel.repository import Repository
    from edge.channel.status import status

    repository = Repository(wiring.settings().channel_folder, wait=_WAIT_SECONDS)
    within = None if within_days is None else timedelta(days=within_days)
    renewed = renew(repository, within)
    found = status(repository, open_keys=True)
    state = repository.state()
    lost = damage(state)
    release_settled()
    end_superseded()
    # What could not succeed yet is not begun: it would only use up the times that it may be.
    again = Again() if lost or any(_keys(found)) else start_again(state)
    decision = judge(renewed, found, lost, again)
    wiring.ledger().append(decision)
    document = decision.document()
    publish(KIND, document, reused=False)
    refuse(decision)
    return document


def judge(
    renewed: "Renewed", found: "Status", lost: list[str], again: Again | None = None
) -> Decision:
    """What the look came to.

    Args:
        renewed: What was renewed, and what could not be.
        found: The channel, after that.
        lost: What `flows.channel_audit.damage` found.
        again: Publications that had failed.
    """
    again = again or Again()
    problems = [*_due(renewed), *_keys(found), *(("V6", told) for told in lost)]
    problems += [("V15", told) for told in again.stuck]
    soonest = min(found.roles, key=lambda role: role.days)
    listed = ", ".join(renewed.renewed) or "nothing"
    healthy = f"{len(found.roles)} roles stand, {soonest.name} the shortest; renewed: {listed}"
    if again.started:
        healthy += f"; publication started again: {', '.join(again.started)}"
    return Decision(
        kind=KIND,
        subject=KIND,
        verdict="needs people" if problems else "healthy",
        reason="; ".join(told for _, told in problems) or healthy,
        rules=tuple(dict.fromkeys(code for code, _ in problems)),
        numbers={
            "roles": len(found.roles),
            "soonest_role": soonest.name,
            "soonest_days": int(soonest.days),
            "renewed": len(renewed.renewed),
            "started_again": len(again.started),
            "problems": len(problems),
        },
        inputs={"root": found.root_sha256},
    )


def refuse(decision: Decision) -> None:
    """Fail on what needs people.

    Raises:
        DeliveryError: V6, V2, V15 or V9, whichever is most urgent.
    """
    for code in _URGENT:
        if code in decision.rules:
            raise DeliveryError(code, found=decision.reason, where="the channel", mend=_MEND[code])


def _due(renewed: "Renewed") -> Iterator[tuple[str, str]]:
    for due in renewed.waiting:
        yield "V9", f"{due.role} expires in {due.days} days: {due.why}"


def _keys(found: "Status") -> Iterator[tuple[str, str]]:
    """Keys of online roles that cannot sign here; those of people are elsewhere on purpose."""
    for role in found.roles:
        for key in role.keys if role.online else ():
            if not key.usable:
                yield "V2", f"key {key.keyid[:12]} of {role.name}: {key.problem}"
