"""The handshake before work is done: what is defined and published, and what was trained."""

from firnline import wiring
from firnline.contracts.breach import refuse
from firnline.contracts.facts import of_manifest
from firnline.contracts.features import WindowView
from firnline.contracts.handshake import Facts, check
from firnline.workload import Workload


def agreed(workload: Workload, found: tuple[WindowView, ...], where: str) -> Facts:
    """The facts of an ensemble as it is defined, when its stages belong together.

    Args:
        workload: The ensemble.
        found: Every view its stages read.
        where: The place that asks, for the error.

    Raises:
        HandshakeError: H1 to H4, every breach at once.
    """
    lock = {line.reference: line.digest for line in wiring.lock()}
    facts = of_manifest(workload.manifest, found, lock)
    refuse(check(facts), where)
    return facts
