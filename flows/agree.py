"""The handshake before work is done: what is defined and published, and what was trained."""

from firnline import wiring
from firnline.contracts.breach import refuse
from firnline.contracts.declared_facts import of_manifest
from firnline.contracts.features import WindowView
from firnline.contracts.handshake import Facts, check
from firnline.workload import Workload
from flows.progress import reporter


def agreed(workload: Workload, found: tuple[WindowView, ...], step: str) -> Facts:
    """The facts of an ensemble as it is defined, when its stages belong together.

    Args:
        workload: The ensemble.
        found: Every view its stages read.
        step: The step that asks.

    Raises:
        HandshakeError: H1 to H4, every breach at once.
    """
    lock = wiring.lock().digests()
    facts = of_manifest(workload.manifest, found, lock)
    breaches = check(facts)
    if breaches:
        # Otherwise the step before would be named as the one that failed.
        reporter().start(step, "checking the handshake")
    refuse(breaches, f"the {step} step")
    return facts
