"""Runs that still wait for an approval that was given, or refused, at a terminal meanwhile."""

from collections.abc import Mapping
from typing import Any

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowFilter, FlowRunFilter

from firnline import wiring
from firnline.contracts.offer import Offer
from firnline.errors import DeliveryError
from flows.publish import MAX_NAME

_PUBLISH = FlowFilter.model_validate({"name": {"any_": ["publish"]}})
_SUSPENDED = FlowRunFilter.model_validate({"state": {"name": {"any_": ["Suspended"]}}})


def release_settled() -> int:
    """Let every run go on whose offer is settled: it ends with what was said.

    Without it such a run would fail once its time is over, and tell people of nothing.

    Returns:
        How many went on.
    """
    count = 0
    with get_client(sync_client=True) as client:
        for run in client.read_flow_runs(flow_filter=_PUBLISH, flow_run_filter=_SUSPENDED):
            found = _offer(run.parameters)
            if found is not None and found.verdict != "waiting":
                client.resume_flow_run(run.id, _word(found))
                count += 1
    return count


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
