"""All checks of an ensemble, in the order in which one rests on another."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from firnline.checks import computed, declared, readings, stages, whole
from firnline.checks.finding import Findings, ok, untried
from firnline.checks.rows import Produced, Rows
from firnline.checks.tools import Tools
from firnline.contracts.ensemble import Ensemble
from firnline.contracts.features import WindowView
from firnline.contracts.reading import ReadingContract
from firnline.workload import Workload, locate

MANIFEST = "manifest"
NORMAL = "normal"
_FEWEST_ROWS = 10


def check(
    ensemble: str, project: Path, tools: Tools, lock: Mapping[str, str] | None = None
) -> Findings:
    """Check an ensemble's manifest, contract, features, recipes and graphs.

    Args:
        ensemble: A name, or a path of a folder with an ensemble.toml.
        project: The project folder; its Python modules become importable.
        tools: What the checks need of the trees above them.
        lock: Published reference -> digest; None leaves that question out.
    """
    findings = Findings()
    with findings.trying(MANIFEST, "docs/reference/manifest.md lists every field"):
        workload = locate(ensemble, project)
        names = ", ".join(stage.name for stage in workload.manifest.stage)
        findings.append(ok(MANIFEST, f"{workload.folder / 'ensemble.toml'}: stages {names}"))
        declared.targets_of(workload, project, tools, findings)
        _check(workload, tools, lock, findings)
    return findings


def _check(
    workload: Workload, tools: Tools, lock: Mapping[str, str] | None, findings: Findings
) -> None:
    manifest = workload.manifest
    contract = declared.contract_of(workload, findings)
    views = declared.views_of(workload, findings)
    if views is not None:
        findings += [declared.entity_of(workload, view) for view in views]
        declared.agreement(workload, views, lock, findings)
    if contract is not None:
        whole.classes(manifest, contract, findings)
    recipes = [stages.recipe_of(stage, tools, findings) for stage in manifest.stage]
    frames = _frames(manifest, contract, views, tools, findings)
    if frames is None:
        findings.append(untried("stages", "there are no features to fit them on, see above"))
        return
    produced: dict[str, Produced] = {}
    tried = []
    for stage, recipe in zip(manifest.stage, recipes, strict=True):
        rows = frames.of_stage(stage, produced)
        part = stages.try_stage(stage, recipe, rows, tools, manifest.split.seed, findings)
        produced |= part.produced
        tried.append(part)
    deciding = manifest.decide.output.partition(".")[0]
    place = next(i for i, stage in enumerate(manifest.stage) if stage.name == deciding)
    whole.threshold(manifest, tried[place].fitted, findings)
    whole.one_graph(manifest, tried, frames, tools, findings)


def _frames(
    manifest: Ensemble,
    contract: ReadingContract | None,
    views: Sequence[WindowView] | None,
    tools: Tools,
    findings: Findings,
) -> Rows | None:
    """Frames of all columns, from generated readings; None where views do not compute."""
    if contract is None or views is None:
        return None
    entities = (f"view {view.reference}: entity" for view in views)
    # Two versions of one view have the same columns, so no frame holds both.
    if findings.broken(declared.VERSIONS, *entities):
        return None
    when = readings.plan(contract, views)
    with tempfile.TemporaryDirectory() as folder:
        if not computed.run_views(contract, views, when, Path(folder), findings):
            return None
        features, names, keys, ends = computed.join(views, Path(folder) / "nulls")
    labels = readings.labels(keys, ends, when, _faults(manifest, contract))
    fit = tools.frame(features=features, names=names, labels=labels, entities=keys, times=ends)
    fit = _seen_often(fit)
    features = fit.features
    empty = np.isnan(features).all(axis=0)
    medians = np.nanmedian(np.where(empty, np.float32(0), features), axis=0)
    filled = np.where(np.isnan(features), medians, features).astype(np.float32)
    return Rows(fit=fit, filled=replace(fit, features=filled), probe=_probe(fit))


def _seen_often(frame: Any) -> Any:
    """Without entities of a few rows, which nobody would train on, where that leaves any."""
    _, place, counts = np.unique(frame.entities, return_inverse=True, return_counts=True)
    often = counts[place] >= _FEWEST_ROWS
    return frame.rows(often) if often.any() else frame


def _faults(manifest: Ensemble, contract: ReadingContract) -> tuple[str, ...]:
    if contract.labels is None:
        return ()
    if manifest.decide.classes:
        return manifest.decide.classes[1:]
    return tuple(sorted(set(contract.labels.names.values()) - {NORMAL})) or ("fault",)


def _probe(frame: Any) -> Any:
    """The frame and one more row, in which every feature is missing."""
    last = np.r_[np.arange(len(frame)), len(frame) - 1]
    probe = frame.rows(last)
    probe.features[-1] = np.nan
    return probe
