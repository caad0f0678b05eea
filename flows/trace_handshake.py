"""What the handshake says of every pair of a trace."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from firnline.contracts.facts import trained
from firnline.contracts.handshake import Facts, check
from firnline.contracts.stages import stage_digest
from firnline.digest import bytes_digest, digest
from flows.steps import Document

if TYPE_CHECKING:
    from models.fit import FittedEnsemble
    from models.trace import Versions


@dataclass(frozen=True)
class _Identity:
    """Digests of a matched pair's stages, and of what each learned from."""

    digests: Mapping[str, str]
    learned: Mapping[str, Mapping[str, str]]


def handshakes(
    versions: Versions, facts: Facts, training_set: str
) -> dict[tuple[int, int], Document]:
    """What the handshake says of every pair, as it would of any ensemble put together like that.

    Args:
        versions: Both versions, trained.
        facts: The ensemble as it is defined.
        training_set: Digest of the training set.

    Returns:
        (version that speaks, version that was listened to) -> `stages` by digest, `handshake`
        (the codes, or "ok") and `breaches`.
    """
    from models.float_onnx import input_names, merge
    from models.trace_measure import PAIRS

    # Version 1 saw a part of the training set, which makes it another set.
    part = digest({"of": training_set, "rows": bytes_digest(versions.earlier.tobytes())})
    first, second = versions.matched
    whose = {
        1: _identity(first, facts, lambda stage: part if stage == versions.stage else training_set),
        2: _identity(second, facts, lambda _stage: training_set),
    }
    found = {}
    for up, down in PAIRS:
        swapped = {versions.stage: whose[up].digests[versions.stage]}
        digests = {**whose[down].digests, **swapped}
        inputs = input_names(merge(versions.pair(up, down).graphs()))
        breaches = check(trained(facts, digests, whose[down].learned, inputs))
        found[up, down] = {
            "stages": digests,
            "handshake": ", ".join(dict.fromkeys(breach.code for breach in breaches)) or "ok",
            "breaches": [breach.document() for breach in breaches],
        }
    return found


def _identity(
    fitted: FittedEnsemble, facts: Facts, training_set: Callable[[str], str]
) -> _Identity:
    digests: dict[str, str] = {}
    learned: dict[str, Mapping[str, str]] = {}
    features = {stage.name: stage.features for stage in facts.stages}
    for part in fitted.stages:
        stage = part.stage
        upstream = {name: digests[name.partition(".")[0]] for name in stage.upstream}
        digests[stage.name] = stage_digest(
            name=stage.name,
            recipe=stage.recipe,
            options=stage.options,
            onnx=bytes_digest(part.fitted.to_onnx()),
            features=features[stage.name],
            upstream=upstream,
            training_set=training_set(stage.name),
        )
        learned[stage.name] = {name.partition(".")[0]: value for name, value in upstream.items()}
    return _Identity(digests, learned)
