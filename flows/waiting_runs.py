"""Runs that wait for an approval: what was said of theirs, and those that wait for nothing more."""

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowFilter, FlowRunFilter
from prefect.client.schemas.sorting import FlowRunSort
from prefect.input import keyset_from_paused_state
from prefect.states import Cancelled, Suspended

from firnline import wiring
from firnline.contracts.offer import MAX_NAME, Offer, refusal
from firnline.errors import DeliveryError

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun

_PUBLISH = FlowFilter.model_validate({"name": {"any_": ["publish"]}})
_SUSPENDED = {"name": {"any_": ["Suspended"]}}


def release_settled() -> int:
    """Let every run go on whose offer was settled at a terminal: it ends with what was said.

    Without it such a run would fail once its time is over, and tell people of nothing.

    Returns:
        How many went on.
    """
    count = 0
    with get_client(sync_client=True) as client:
        for run, found in offered_runs(client, _SUSPENDED):
            if found.verdict not in {"waiting", "superseded"}:
                client.resume_flow_run(run.id, _word(found))
                count += 1
    return count


def end_superseded() -> int:
    """Cancel every run that waits for the approval of a release that is superseded.

    Returns:
        How many ended.
    """
    count = 0
    with get_client(sync_client=True) as client:
        for run, found in offered_runs(client, _SUSPENDED):
            if found.verdict == "superseded":
                client.set_flow_run_state(run.id, Cancelled(message=str(refusal(found))))
                count += 1
    return count


def offered_runs(
    client: SyncPrefectClient, state: Mapping[str, Any]
) -> "Iterator[tuple[FlowRun, Offer]]":
    """Runs of `publish` in a state, newest first; those started in other words are left out.

    Args:
        client: Of the server.
        state: Filter on the runs' state, as Prefect's API takes it.

    Yields:
        A run and its offer, as that stands.

    Raises:
        EvidenceError: E95, a file of such an ensemble is no offer.
    """
    chosen = FlowRunFilter.model_validate({"state": state})
    # The server gives the first 200: those that ended long ago must not be in the way.
    newest = FlowRunSort.EXPECTED_START_TIME_DESC
    for run in client.read_flow_runs(flow_filter=_PUBLISH, flow_run_filter=chosen, sort=newest):
        found = _offer(run.parameters)
        if found is not None:
            yield run, found


def question(found: Offer) -> str:
    """The key under which a run asks about an offer, and the server keeps what was answered.

    A word counts for this offer alone: not for what is offered next, nor for the same release when
    it is offered again.
    """
    return f"{found.release}-{found.number}"


def said(client: SyncPrefectClient, run_id: UUID | str, found: Offer) -> dict[str, Any] | None:
    """The word that a run was given on an offer; None while there is none."""
    given: dict[str, Any] | None = _input(client, run_id, found, "response")
    return given


def asked(client: SyncPrefectClient, run_id: UUID | str, found: Offer) -> bool:
    """Whether a run has put its question about an offer."""
    return _input(client, run_id, found, "schema") is not None


def _input(
    client: SyncPrefectClient, run_id: UUID | str, found: Offer, kind: Literal["response", "schema"]
) -> Any:
    keys = keyset_from_paused_state(Suspended(pause_key=question(found)))
    kept = client.filter_flow_run_input(UUID(str(run_id)), keys[kind], 1, set())
    return json.loads(kept[0].value) if kept else None


def _offer(parameters: Mapping[str, Any]) -> Offer | None:
    """What a run waits for; None for one that was started by hand in other words."""
    try:
        return wiring.offers().get(str(parameters["ensemble"]), str(parameters["release"]))
    except (KeyError, DeliveryError):
        return None


def _word(found: Offer) -> dict[str, Any]:
    """A word that the run's form takes; the run then tells what the offer was settled by."""
    approver = found.by[:MAX_NAME] or "command line"
    return {"approver": approver, "approve": found.verdict == "published", "proved": True}
