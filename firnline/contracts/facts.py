"""What the handshake is told: taken from a manifest and its views, and kept as JSON in a bundle."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from firnline.contracts.ensemble import Ensemble, Output, Stage
from firnline.contracts.features import TIMESTAMP_COLUMN, WindowView
from firnline.contracts.handshake import Clock, Columns, Facts, StageFacts
from firnline.errors import HandshakeError


def of_manifest(manifest: Ensemble, views: Sequence[WindowView], lock: Mapping[str, str]) -> Facts:
    """The facts before training: what is declared and defined.

    Args:
        manifest: The ensemble.
        views: Every view its stages read.
        lock: Published reference -> digest; only what the ensemble reads is kept.
    """
    by_reference = {view.reference: view for view in views}
    return Facts(
        ensemble=manifest.name,
        declared=tuple(stage.name for stage in manifest.stage),
        stages=tuple(_stage(manifest, stage, by_reference) for stage in manifest.stage),
        lock={name: lock[name] for name in manifest.references() if name in lock},
    )


def _stage(manifest: Ensemble, stage: Stage, views: Mapping[str, WindowView]) -> StageFacts:
    first = views[stage.features[0]]
    return StageFacts(
        name=stage.name,
        features={name: views[name].digest() for name in stage.features},
        clock=Clock(
            first.entity, first.key, TIMESTAMP_COLUMN, first.window_seconds, first.every_seconds
        ),
        upstream={name: _columns(manifest.output(name)) for name in stage.upstream},
        outputs={output.name: _columns(output) for output in stage.outputs},
    )


def _columns(output: Output) -> Columns:
    return Columns(output.dtype, output.width, output.range)


def trained(
    facts: Facts,
    digests: Mapping[str, str],
    learned_from: Mapping[str, Mapping[str, str]],
    inputs: tuple[str, ...] | None = None,
) -> Facts:
    """The facts after training.

    Args:
        facts: Those of the manifest.
        digests: Stage -> what it is now.
        learned_from: Stage -> upstream stage -> digest of the stage it was trained on.
        inputs: Inputs of the merged graph.
    """
    stages = tuple(
        replace(stage, digest=digests[stage.name], learned_from=learned_from[stage.name])
        for stage in facts.stages
        if stage.name in digests
    )
    return replace(facts, stages=stages, inputs=inputs)


def document(facts: Facts) -> dict[str, Any]:
    """The facts as JSON values; `of_document` takes them back."""
    return {
        "ensemble": facts.ensemble,
        "declared": list(facts.declared),
        "lock": dict(facts.lock),
        "inputs": None if facts.inputs is None else list(facts.inputs),
        "stages": [_stage_document(stage) for stage in facts.stages],
    }


def _stage_document(stage: StageFacts) -> dict[str, Any]:
    # Lists and not objects where order counts: canonical JSON sorts the keys of an object.
    return {
        "name": stage.name,
        "features": [[name, found] for name, found in stage.features.items()],
        "clock": None if stage.clock is None else asdict(stage.clock),
        "upstream": [[name, *_block(made)] for name, made in stage.upstream.items()],
        "outputs": [[name, *_block(made)] for name, made in stage.outputs.items()],
        "digest": stage.digest,
        "learned_from": dict(stage.learned_from),
        "out_of_fold": stage.out_of_fold,
    }


def _block(made: Columns) -> list[Any]:
    return [made.dtype, made.width, None if made.range is None else list(made.range)]


def of_document(found: Any, where: str) -> Facts:
    """The facts that a bundle or a registry holds.

    Args:
        found: What `document` gave, after a trip through JSON.
        where: What it was read from, for the error.

    Raises:
        HandshakeError: H0 when it is not that.
    """
    try:
        return Facts(
            ensemble=_text(found["ensemble"]),
            declared=tuple(_text(name) for name in found["declared"]),
            stages=tuple(_stage_of(stage) for stage in found["stages"]),
            lock={_text(name): _text(value) for name, value in found["lock"].items()},
            inputs=None if found["inputs"] is None else tuple(map(_text, found["inputs"])),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise HandshakeError(
            "H0",
            found=f"no record of what belongs together: {type(error).__name__}: {error}",
            where=where,
            mend="build it again with `firnline run`; what has no record is not loaded",
        ) from error


def _stage_of(found: Any) -> StageFacts:
    return StageFacts(
        name=_text(found["name"]),
        features={_text(name): _text(value) for name, value in found["features"]},
        clock=None if found["clock"] is None else Clock(**found["clock"]),
        upstream={_text(name): _columns_of(*block) for name, *block in found["upstream"]},
        outputs={_text(name): _columns_of(*block) for name, *block in found["outputs"]},
        digest=None if found["digest"] is None else _text(found["digest"]),
        learned_from={_text(name): _text(value) for name, value in found["learned_from"].items()},
        out_of_fold=bool(found["out_of_fold"]),
    )


def _columns_of(dtype: Any, width: Any, interval: Any) -> Columns:
    within = None if interval is None else (float(interval[0]), float(interval[1]))
    return Columns(_text(dtype), int(width), within)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not text")
    return value
