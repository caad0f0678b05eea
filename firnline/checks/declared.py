"""Checks of what is declared: contract, feature module, and rules H1 to H3 of the handshake."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from firnline.checks.finding import Finding, Findings, no, ok, untried
from firnline.checks.tools import Tools
from firnline.contracts.breach import Breach
from firnline.contracts.declared_facts import of_manifest
from firnline.contracts.features import WindowView
from firnline.contracts.handshake import check as handshake
from firnline.contracts.reading import ReadingContract
from firnline.contracts.reading import load as load_contract
from firnline.workload import Workload, views

CONTRACT, FEATURES, TARGETS = "contract", "features", "release targets"
PUBLISHED, VERSIONS, CLOCK = "H1 published", "H2 one version", "H3 one clock"


def contract_of(workload: Workload, findings: Findings) -> ReadingContract | None:
    """The reading contract, where it loads; its key must be the manifest's."""
    with findings.trying(CONTRACT, "see docs/contracts.md"):
        contract = load_contract(workload.contract)
        if contract.key.name == workload.manifest.key:
            found = f"{len(contract.sensor)} sensors of each {contract.key.name}"
            findings.append(ok(CONTRACT, found))
            return contract
        found = f"key.name is {contract.key.name!r}, the manifest's key {workload.manifest.key!r}"
        findings.append(no(CONTRACT, found, "give both files the same key"))
    return None


def views_of(workload: Workload, findings: Findings) -> tuple[WindowView, ...] | None:
    """The feature views that stages read, where the module yields them all."""
    with findings.trying(FEATURES, "make VIEWS a tuple of WindowView"):
        found = views(workload)
        unlike = [type(view).__name__ for view in found if not isinstance(view, WindowView)]
        if unlike:
            raise TypeError(f"VIEWS holds {', '.join(unlike)}")
        labels = ", ".join(view.label for view in found)
        findings.append(ok(FEATURES, labels))
        return found
    return None


def targets_of(workload: Workload, project: Path, tools: Tools, findings: Findings) -> None:
    """Every target of the release has a profile: the export would ask for it first."""
    targets = workload.manifest.release.targets
    with findings.trying(TARGETS, "name a target that ships, or write its profile"):
        told = [f"{target}: {tools.target(target, project)}" for target in targets]
        findings.append(ok(TARGETS, "; ".join(told) or "none"))


def entity_of(workload: Workload, view: WindowView) -> Finding:
    """A view is of the ensemble's entity, under the ensemble's key."""
    name = f"view {view.reference}: entity"
    identity = workload.manifest.ensemble
    unlike = [
        f"{role} is {mine!r}, the manifest's {theirs!r}"
        for role, mine, theirs in (
            ("entity", view.entity, identity.entity),
            ("key", view.key, identity.key),
        )
        if mine != theirs
    ]
    if unlike:
        return no(name, "; ".join(unlike), "give the view the manifest's entity and key")
    return ok(name, f"{view.entity}, by {view.key}")


def agreement(
    workload: Workload,
    found: tuple[WindowView, ...],
    lock: Mapping[str, str] | None,
    findings: Findings,
) -> None:
    """The handshake of what is defined: H1 where there is a lock, H2 and H3.

    Args:
        workload: The ensemble.
        found: The views its stages read.
        lock: Published reference -> digest; None leaves H1 out.
        findings: Where findings go.
    """
    digests = {view.reference: view.digest() for view in found}
    facts = of_manifest(workload.manifest, found, digests if lock is None else lock)
    breaches = handshake(facts)
    if lock is not None:
        findings.append(_published(found, lock, [b for b in breaches if b.code == "H1"]))
    held = {VERSIONS: ", ".join(digests), CLOCK: f"every stage: {facts.stages[0].clock}"}
    for name, told in held.items():
        mine = [breach for breach in breaches if breach.code == name[:2]]
        findings.append(_broken(name, mine) if mine else ok(name, told))


def _published(
    found: tuple[WindowView, ...], lock: Mapping[str, str], breaches: Sequence[Breach]
) -> Finding:
    """H1; a version that nobody has published yet may still be worked on."""
    if not breaches:
        return ok(PUBLISHED, ", ".join(view.label for view in found))
    if any(lock.get(view.reference, view.digest()) != view.digest() for view in found):
        return _broken(PUBLISHED, breaches)
    new = ", ".join(view.reference for view in found if view.reference not in lock)
    why = f"{new} is not in features.lock yet, so nothing is trained on it"
    return untried(PUBLISHED, why, f"firnline lock add {new.replace(',', '')}")


def _broken(name: str, breaches: Sequence[Breach]) -> Finding:
    told = "; ".join(f"{breach.where}: {breach.found}" for breach in breaches)
    mend = "; ".join(dict.fromkeys(breach.mend for breach in breaches))
    return no(name, f"[{name[:2]}] {told}", mend)
