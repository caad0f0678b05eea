"""`firnline promote`: the newest candidate becomes the live model."""

import json
import shutil
from pathlib import Path
from typing import Any

from firnline import wiring
from firnline.cli.show import print_json, screen
from firnline.decision import Decision
from firnline.errors import EvidenceError
from firnline.workload import locate

# `first`: nothing is live and no baseline is declared, so there was nothing to be worse than.
_ALLOWED = {"accept", "first", "live"}


def promote_candidate(ensemble: str, override: str | None, *, as_json: bool) -> None:
    """Move the live model on, and write down on what grounds.

    Raises:
        EvidenceError: E4 there is no candidate, E5 its shadow has not accepted it.
        HandshakeError: H0 to H7, its stages or features do not belong together here.
        DeliveryError: D1 to D8, its bundle is not whole.
    """
    from edge.load import load

    name = locate(ensemble, wiring.settings().project).name
    run = last_run(name)
    verdict, reason = run["shadow"]["verdict"], run["shadow"]["reason"]
    if verdict not in _ALLOWED and override is None:
        raise EvidenceError(
            "E5",
            found=f"the shadow's verdict is {verdict}: {reason}",
            where=f"candidate {run['bundle']['digest'][:12]} of {name}",
            mend='gather more evidence, or firnline promote NAME --override "the reason"',
        )
    bundle = Path(run["bundle"]["path"])
    lock = wiring.lock().digests()
    load(bundle, "server", lock=lock, expected=run["bundle"]["digest"])
    _replace(bundle, wiring.settings().state / "live" / name)
    wiring.registry().promote(run["registered"]["name"], run["registered"]["version"])
    decision = Decision(
        kind="promotion",
        subject=name,
        verdict="live",
        reason=override or reason,
        rules=("override",) if override else ("shadow",),
        numbers={"version": run["registered"]["version"]},
        inputs={"bundle": run["bundle"]["digest"], "shadow": run["shadow"]["digest"]},
    )
    wiring.ledger().append(decision)
    if as_json:
        print_json(decision.document())
    else:
        version = run["registered"]["version"]
        screen().print(f"{name} version {version} is live: bundle {run['bundle']['digest'][:12]}")


def last_run(name: str) -> dict[str, Any]:
    """The document of an ensemble's last whole run.

    Raises:
        EvidenceError: E4, there is none.
    """
    path = wiring.settings().state / "runs" / f"{name}.json"
    if not path.is_file():
        raise EvidenceError(
            "E4",
            found="no run has ended in a bundle",
            where=str(path),
            mend=f"firnline run {name}",
        )
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document


def _replace(bundle: Path, live: Path) -> None:
    """Put a copy of the bundle in the live one's place, whole or not at all."""
    live.parent.mkdir(parents=True, exist_ok=True)
    partial, old = live.with_name(f".{live.name}.partial"), live.with_name(f".{live.name}.old")
    for left_over in (partial, old):
        shutil.rmtree(left_over, ignore_errors=True)
    shutil.copytree(bundle, partial)
    if live.is_dir():
        live.rename(old)
    partial.rename(live)
    shutil.rmtree(old, ignore_errors=True)
