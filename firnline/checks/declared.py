"""Checks of what is declared: contract, feature module, and rules H2 and H3 of the handshake."""

from typing import Any

from firnline.checks.finding import Finding, Findings, no, ok
from firnline.contracts.features import WindowView, parse_reference
from firnline.contracts.reading import ReadingContract
from firnline.contracts.reading import load as load_contract
from firnline.workload import Workload, views

CONTRACT, FEATURES, VERSIONS, CLOCK = "contract", "features", "H2 one version", "H3 one clock"


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


def one_version(workload: Workload) -> Finding:
    """H2: one feature name has one version across the stages."""
    versions: dict[str, set[int]] = {}
    for reference in workload.manifest.references():
        view, version = parse_reference(reference)
        versions.setdefault(view, set()).add(version)
    twice = {view: sorted(found) for view, found in versions.items() if len(found) > 1}
    if not twice:
        return ok(VERSIONS, ", ".join(workload.manifest.references()))
    found = "; ".join(
        f"{view} is read as {' and '.join(f'v{number}' for number in numbers)}"
        for view, numbers in twice.items()
    )
    return no(VERSIONS, f"[H2] {found}", "let every stage read the same version")


def one_clock(workload: Workload, found: tuple[WindowView, ...]) -> Finding:
    """H3: the first view of each stage, which paces it, has the same entity, key and windows."""
    by_reference = {view.reference: view for view in found}
    clocks: dict[tuple[Any, ...], list[str]] = {}
    for stage in workload.manifest.stage:
        view = by_reference[stage.features[0]]
        clock = (view.entity, view.key, view.window_seconds, view.every_seconds)
        clocks.setdefault(clock, []).append(stage.name)
    told = [
        f"{', '.join(stages)}: {entity} by {key}, {length} s every {every} s"
        for (entity, key, length, every), stages in clocks.items()
    ]
    if len(clocks) == 1:
        return ok(CLOCK, told[0])
    mend = "list the view with the shared window first in every stage's features"
    return no(CLOCK, f"[H3] {'; '.join(told)}", mend)
