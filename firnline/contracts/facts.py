"""What the handshake is told after training, and as JSON in a bundle; a device reads it too."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from firnline.contracts.handshake import Clock, Columns, Facts, StageFacts
from firnline.errors import HandshakeError


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
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
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
        clock=None if found["clock"] is None else _clock_of(found["clock"]),
        upstream={_text(name): _columns_of(*block) for name, *block in found["upstream"]},
        outputs={_text(name): _columns_of(*block) for name, *block in found["outputs"]},
        digest=None if found["digest"] is None else _text(found["digest"]),
        learned_from={_text(name): _text(value) for name, value in found["learned_from"].items()},
        out_of_fold=bool(found["out_of_fold"]),
    )


def _clock_of(found: Mapping[str, Any]) -> Clock:
    return Clock(
        entity=_text(found["entity"]),
        key=_text(found["key"]),
        timestamp_column=_text(found["timestamp_column"]),
        window_seconds=int(found["window_seconds"]),
        every_seconds=int(found["every_seconds"]),
    )


def _columns_of(dtype: Any, width: Any, interval: Any) -> Columns:
    within = None if interval is None else (float(interval[0]), float(interval[1]))
    return Columns(_text(dtype), int(width), within)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not text")
    return value
