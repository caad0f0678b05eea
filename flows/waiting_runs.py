"""Runs that still wait for an approval that was given, or refused, at a terminal meanwhile."""

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowFilter, FlowRunFilter

from firnline import wiring

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
            ensemble, release = (run.parameters.get(name) for name in ("ensemble", "release"))
            found = wiring.offers().get(str(ensemble), str(release)) if release else None
            if found is not None and found.verdict != "waiting":
                approve = found.verdict == "published"
                client.resume_flow_run(run.id, {"approver": found.by, "approve": approve})
                count += 1
    return count
