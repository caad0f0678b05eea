"""Runs that wait for an approval: what was said of theirs, and those that wait for nothing more."""

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowFilter, FlowRunFilter
from prefect.input import keyset_from_paused_state
from prefect.states import Cancelled, Suspended

from firnline import wiring
from firnline.contracts.offer import MAX_NAME, Offer, refusal
from firnline.errors import DeliveryError

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun

PAUSE = "approval"
"""The pause in which a run of `publish` asks."""
_PUBLISH = FlowFilter.model_validate({"name": {"any_": ["publish"]}})
_SUSPENDED = {"name": {"any_": ["Suspended"]}}
_KEYS = keyset_from_paused_state(Suspended(pause_key=PAUSE))


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
    """Runs of `publish` in a state, each with its offer; those started in other words are left out.

    Args:
        client: Of the server.
        state: Filter on the runs' state, as Prefect's API takes it.
    """
    chosen = FlowRunFilter.model_validate({"state": state})
    for run in client.read_flow_runs(flow_filter=_PUBLISH, flow_run_filter=chosen):
        found = _offer(run.parameters)
        if found is not None:
            yield run, found


def said(client: SyncPrefectClient, run_id: UUID | str) -> dict[str, Any] | None:
    """The word that a run was given, kept by the server; None while there is none."""
    given: dict[str, Any] | None = _input(client, run_id, "response")
    return given


def asked(client: SyncPrefectClient, run_id: UUID | str) -> bool:
    """Whether a run has put its question."""
    return _input(client, run_id, "schema") is not None


def _input(
    client: SyncPrefectClient, run_id: UUID | str, kind: Literal["response", "schema"]
) -> Any:
    found = client.filter_flow_run_input(UUID(str(run_id)), _KEYS[kind], 1, set())
    return json.loads(found[0].value) if found else None


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
