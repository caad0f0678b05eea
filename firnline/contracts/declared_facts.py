"""What the handshake is told before training: taken from a manifest and its views."""

from collections.abc import Mapping, Sequence

from firnline.contracts.ensemble import Ensemble, Output, Stage
from firnline.contracts.features import TIMESTAMP_COLUMN, WindowView
from firnline.contracts.handshake import Clock, Columns, Facts, StageFacts


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
