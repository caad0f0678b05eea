"""Step 5: candidate and live model score the same readings; an exact test, valid at any time."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from prefect import flow

from firnline import wiring
from firnline.decision import Decision
from firnline.errors import DeliveryError, EvidenceError
from firnline.evidence.pairing import pair
from firnline.evidence.scores import DecisionRule, known, rule_of
from firnline.evidence.shadow import KIND, judge
from firnline.workload import Workload, locate
from flows.export import export
from flows.rows import divided
from flows.steps import Document, Results, Step, code, folder_of, run_step
from flows.verdicts import publish, summarise

if TYPE_CHECKING:
    from models.recipe import Frame

_CODE = (
    "edge.parity_run",
    "firnline.evidence.discordant",
    "firnline.evidence.pairing",
    "firnline.evidence.rare_rate",
    "firnline.evidence.sampling",
    "firnline.evidence.scores",
    "firnline.evidence.sequential",
    "firnline.evidence.shadow",
)
_BASELINE_QUANTILE = 0.99

Flags = NDArray[np.bool_]


@flow(name="shadow", validate_parameters=False)
def shadow(ensemble: str, data: str | None = None, before: Results | None = None) -> Results:
    """Judge the candidate against the live model, or against the declared baseline.

    Args:
        ensemble: Name or folder of the ensemble.
        data: As for `ingest`; only used when `before` is not given.
        before: Results of the steps before; run, or reused, when not given.

    Raises:
        EvidenceError: E3, the live model reads features that were not computed.
    """
    before = before or export(ensemble, data)
    workload = locate(ensemble, wiring.settings().project)
    live = live_bundle(workload.name)
    inputs = {
        "candidate": before["export"]["bundle"],
        "live": live["digest"] if live else None,
        "baseline": workload.manifest.decide.baseline,
        "code": code(*_CODE, packages=("numpy", "onnxruntime")),
    }

    def make(_out: Path) -> Document:
        decision = _judge(workload, before, live)
        wiring.ledger().append(decision)
        return {"decision": decision.document()}

    step = Step(workload.name, "shadow", inputs, "scoring in shadow", make, summarise)
    document = run_step(step)
    publish(workload.name, document["decision"], reused=document["reused"])
    return {**before, "shadow": document}


def live_bundle(ensemble: str) -> Document | None:
    """The bundle that `firnline promote` made live, loaded as a server does.

    Returns:
        Its manifest, folder and digest; None before the first promotion. Of a bundle of another
        format, which only the firnline that made it reads: why, as `unread`, and no manifest.

    Raises:
        HandshakeError: H0 to H8, it reads other features than are published here, or its stages
            do not belong together.
        DeliveryError: D1 to D6 or D8, it is not whole.
    """
    from edge.load import load
    from firnline.digest import tree_digest

    folder = wiring.settings().state / "live" / ensemble
    if not folder.is_dir():
        return None
    try:
        loaded = load(folder, "server", lock=wiring.lock().digests())
        found: Document = {"manifest": loaded.manifest}
    except DeliveryError as error:
        if error.code != "D7":
            raise
        # A run that stopped here would leave no candidate to promote in its place.
        found = {"unread": error.found}
    return {**found, "folder": str(folder), "digest": tree_digest(folder)}


def _judge(workload: Workload, before: Results, live: Document | None) -> Decision:
    from edge.parity_run import score

    manifest, trained = workload.manifest, before["train"]
    candidate = before["export"]["bundle"]
    inputs = {"candidate": candidate, "training_set": before["features"]["training_set"]}
    if live and live["digest"] == candidate:
        reason = "the candidate is the live model"
        return Decision(KIND, manifest.name, "live", reason, ("SH0",), {"pairs": 0}, inputs)
    if live and "unread" in live:
        inputs["live"] = live["digest"]
        reason = (
            f"the live bundle cannot be compared with: {live['unread']}; promote again: "
            f'firnline promote {manifest.name} --override "the live bundle\'s format"'
        )
        return Decision(KIND, manifest.name, "undecided", reason, ("SH4",), {"pairs": 0}, inputs)
    if not live and manifest.decide.baseline is None:
        return judge(manifest.name, None, inputs=inputs)
    frame, parts = divided(manifest, before["features"])
    unseen = frame.rows(parts.test | parts.later)
    model = (folder_of(before["export"]) / "bundle" / "int8.onnx").read_bytes()
    rule = DecisionRule.of(trained)
    flags = rule.decisions(rule.scores(score(model, unseen.features, rule.output)))
    if live:
        inputs["live"] = live["digest"]
        other, against = _live_flags(live, before, unseen), "the live model"
    else:
        other, against = _baseline_flags(workload, model, frame.rows(parts.train), unseen)
    pairs = pair(
        unseen.entities,
        unseen.times,
        flags,
        other,
        rule.faults(unseen.labels),
        known(unseen.labels),
        salt=candidate,
    )
    return judge(manifest.name, pairs, against=against, inputs=inputs)


def _live_flags(live: Document, before: Results, unseen: "Frame") -> Flags:
    """Decisions of the live model on the same rows.

    Raises:
        EvidenceError: E3, it reads feature versions that were not computed.
    """
    from edge.parity_run import score

    manifest: dict[str, Any] = live["manifest"]
    computed = {view["label"] for view in before["features"]["views"]}
    wanted = {view["label"] for view in manifest["features"].values()}
    if not wanted <= computed:
        raise EvidenceError(
            "E3",
            found=f"the live model reads {', '.join(sorted(wanted - computed))}",
            where=f"live bundle {live['folder']}",
            mend="keep these feature versions in a stage's features until another model is live",
        )
    place = {name: number for number, name in enumerate(unseen.names)}
    columns = [place[name] for name in manifest["input"]["columns"]]
    rule = DecisionRule.of(manifest["decide"])
    model = (Path(live["folder"]) / "int8.onnx").read_bytes()
    features = np.ascontiguousarray(unseen.features[:, columns])
    return rule.decisions(rule.scores(score(model, features, rule.output)))


def _baseline_flags(
    workload: Workload, model: bytes, training: "Frame", unseen: "Frame"
) -> tuple[Flags, str]:
    """Decisions of the first stage alone, at a limit that 1 % of normal training rows pass."""
    from edge.parity_run import score

    output = str(workload.manifest.decide.baseline)
    normal = training.rows(training.labels == "normal")
    reference = score(model, normal.features, output)[output][:, 0]
    limit = float(np.quantile(reference, _BASELINE_QUANTILE))
    decide = workload.manifest.decide.model_copy(
        update={"output": output, "classes": (), "threshold": limit}
    )
    rule = rule_of(decide, None)
    found = rule.decisions(rule.scores(score(model, unseen.features, output)))
    return found, f"the baseline {output} (nothing is live yet)"
