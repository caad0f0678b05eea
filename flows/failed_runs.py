"""Publications that were approved and came to nothing, started again without asking anybody twice.

The word that a run was given lies with the run, on the server. So the same run goes on with it, and
what it does is done once however often it is begun: the channel takes a release once, the ledger a
decision, the offer a verdict.
"""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from prefect.client.orchestration import get_client
from prefect.client.schemas import OrchestrationResult, SetStateStatus
from prefect.states import AwaitingRetry

from firnline.contracts.offer import Offer
from firnline.contracts.places import TRACKS
from flows.waiting_runs import asked, offered_runs, question, said

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun

    from edge.channel.state import State

MOST = 3
"""How often a publication is started again."""
DEAD_AFTER = timedelta(hours=1)
"""A run that has been under way for longer has lost its worker: publishing takes minutes."""
_ENDED, _UNDER_WAY = ("FAILED", "CRASHED"), ("RUNNING", "PENDING")
_AGAIN = "started again"


@dataclass(frozen=True)
class Again:
    """What was done of publications that failed.

    Attributes:
        started: Those that were started again.
        stuck: Those that people must see to, with what to type.
    """

    started: tuple[str, ...] = ()
    stuck: tuple[str, ...] = ()


def start_again(channel: "State", dead_after: timedelta = DEAD_AFTER) -> Again:
    """Start every publication again that was approved, or never asked for, and failed.

    A run whose time was over before anybody gave their word stays ended.

    Args:
        channel: What is committed.
        dead_after: When a run that is under way has surely lost its worker.

    Raises:
        EvidenceError: E95, a file of such an ensemble is no offer.
        DeliveryError: V6, an assignment is not what its name says.
    """
    started, stuck, seen = [], [], set()
    with get_client(sync_client=True) as client:
        for run, found in offered_runs(client, {"type": {"any_": [*_ENDED, *_UNDER_WAY]}}):
            if found.verdict != "waiting" or found.release in seen or not _dead(run, dead_after):
                continue
            if run.deployment_id is None:  # No worker would take it up.
                continue
            if run.idempotency_key not in {None, question(found)}:  # Of an older offer of it.
                continue
            word = said(client, run.id, found)
            if word is None and asked(client, run.id, found):
                continue
            seen.add(found.release)
            states = client.read_flow_run_states(run.id)
            tries = sum((state.message or "").startswith(_AGAIN) for state in states)
            why = _why(run)
            if _approves(word) and taken_back(channel, found):
                what = (
                    f"was taken back after its run ended ({why}); refuse it by a new run of "
                    f"`publish/{found.ensemble}`, or publish it all the same"
                )
                stuck.append(_told(found, word, what))
            elif tries >= MOST:
                stuck.append(_told(found, word, f"failed {1 + tries} times: {why}; once mended"))
            else:
                message = f"{_AGAIN}, {1 + tries} of {MOST}, after: {why}"
                answer: OrchestrationResult[Any] = client.set_flow_run_state(
                    run.id, AwaitingRetry(message=message)
                )
                if answer.status is SetStateStatus.ACCEPT:  # Else it has gone on meanwhile.
                    started.append(f"{found.ensemble} {found.release[:12]}")
    return Again(tuple(started), tuple(stuck))


def taken_back(channel: "State", found: Offer) -> bool:
    """Whether a release got into the channel after all, and no track gives it to anybody now.

    Its run was killed between the channel and the offer, and somebody rolled it back since.

    Args:
        channel: What is committed.
        found: The release's offer.
    """
    rows = [[a for _, a in channel.history(track, found.ensemble)] for track in TRACKS]
    once = any(a.share_of(found.release) for row in rows for a in row)
    return once and not any(a.share_of(found.release) for row in rows for a in row[:1])


def _dead(run: "FlowRun", after: timedelta) -> bool:
    state = run.state
    if state is None or state.type.value in _ENDED:
        return True
    return datetime.now(UTC) - state.timestamp > after


def _why(run: "FlowRun") -> str:
    """What a run ended with, on one line."""
    if run.state is None or run.state.type.value in _UNDER_WAY:
        return "its worker is gone"
    return " ".join((run.state.message or run.state.name or "no reason was given").split())


def _approves(word: Mapping[str, Any] | None) -> bool:
    return word is not None and bool(word.get("approve", True))


def _told(found: Offer, word: Mapping[str, Any] | None, what: str) -> str:
    by, then = "which nobody could be asked about", f"`{command(found, word)}`"
    if word is not None:
        by = f"{'approved' if _approves(word) else 'refused'} by {word['approver']}"
        then = then if _approves(word) else "retry its run"
    return f"release {found.release[:12]} of {found.ensemble}, {by}, {what}: {then}"


def command(found: Offer, word: Mapping[str, Any] | None) -> str:
    """What publishes a release at a terminal as it was approved.

    Args:
        found: Its offer.
        word: The approval; None where nobody was asked.
    """
    if word is None:
        return found.command
    said_so = ["firnline", "channel", "publish", found.ensemble]
    said_so += ["--track", word.get("track", found.track)]
    said_so += ["--share", f"{100 * word.get('share', 1):g}%"]
    if word.get("proved"):
        said_so.append("--proved")
    else:
        for target in found.unproved:
            said_so += ["--unproved", f"{target}={word.get('unproved', '')}"]
    if word.get("reason"):
        said_so += ["--reason", word["reason"]]
    return shlex.join(said_so)
