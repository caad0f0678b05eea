"""Offering a release: after an export it waits, where people look, for somebody's word."""

from collections.abc import Mapping

from prefect import runtime
from prefect.artifacts import create_markdown_artifact
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound

from firnline import wiring
from firnline.contracts.offer import Offer
from firnline.workload import Workload
from flows.steps import Document
from flows.waiting_runs import end_superseded, question

TRACK = "beta"
"""Where a release is offered to first, unless whoever approves says otherwise."""


def offer(workload: Workload, exported: Document, judged: Mapping[str, str]) -> Offer | None:
    """Put a release forward for publication, where the project has a channel.

    In a deployment the run that waits for the approval is started as well, once an offer, and
    those that wait for an older one of the ensemble end.

    Args:
        workload: Whose release.
        exported: The document of the export step.
        judged: Gate -> verdict and reason.

    Returns:
        The offer as it stands; None without a channel.
    """
    if not has_channel():
        return None
    proofs = {r["target"]: str(r["proof"]["verdict"]) for r in exported["targets"]}
    wanted = Offer(workload.name, str(exported["bundle"]), TRACK, proofs, dict(judged))
    found = wiring.offers().offer(wanted)
    if found.verdict == "waiting":
        create_markdown_artifact(
            key=f"{workload.name}-offer".replace("_", "-"),
            markdown=markdown(found),
            description=f"release {found.release[:12]} of {workload.name} is awaiting approval",
        )
        if runtime.deployment.id:
            end_superseded()
            _start(found)
    return found


def has_channel() -> bool:
    """Whether the project publishes to a channel."""
    return (wiring.settings().channel_folder / "channel.json").is_file()


def markdown(found: Offer) -> str:
    """What whoever approves has to know, on one page."""
    rows = [("release", found.release), ("to", found.track), *found.judged.items()]
    rows += [(f"proof on {target}", verdict) for target, verdict in found.targets.items()]
    table = "\n".join(f"| {name} | {_cell(text)} |" for name, text in rows)
    parts = [
        f"# {found.ensemble}: a release is awaiting approval",
        f"| | |\n|---|---|\n{table}",
        *_unproved(found),
        f"Resume the run of `publish/{found.ensemble}`, or: `{found.command}`",
    ]
    return "\n\n".join(parts) + "\n"


def _unproved(found: Offer) -> list[str]:
    """What becomes of the targets that no proof accepts."""
    if not found.unproved:
        return []
    return [
        f"No proof accepts **{', '.join(found.unproved)}**. Say what becomes of them: with "
        "`proved` they stay out of the release, and devices of these targets keep what they have; "
        "with a reason in `unproved` they go with it, and the assignment tells every device the "
        "reason. At a terminal that is `--proved`, or `--unproved TARGET=REASON` for each."
    ]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _start(found: Offer) -> None:
    """Start the run that waits, where that flow is deployed too."""
    parameters = {"ensemble": found.ensemble, "release": found.release}
    try:
        run_deployment(
            name=f"publish/{found.ensemble}",
            parameters=parameters,
            timeout=0,
            as_subflow=False,
            idempotency_key=question(found),
        )
    except ObjectNotFound:
        # Approval at a terminal is left; the artifact says how.
        return
