"""Checks of the whole: one graph, a threshold, and layers that int8 can take."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from firnline.checks.finding import Findings, no, ok, untried
from firnline.checks.graphs import TOLERANCE
from firnline.checks.rows import Rows
from firnline.checks.stages import Tried
from firnline.checks.tools import Tools
from firnline.contracts.ensemble import Ensemble
from firnline.contracts.reading import ReadingContract

GRAPH, THRESHOLD, LAYERS, CLASSES = "one graph", "threshold", "int8 layers", "classes"


def one_graph(
    manifest: Ensemble, tried: Sequence[Tried], rows: Rows, tools: Tools, findings: Findings
) -> None:
    """Every stage in one graph: features in, all outputs out, nothing left to the device."""
    if any(part.model is None for part in tried):
        for name in (GRAPH, LAYERS):
            findings.append(untried(name, "a stage above has no sound graph"))
        return
    with findings.trying(GRAPH, "return the graphs that models.recipe.Fitted.to_onnx describes"):
        graphs = [
            tools.stage_graph(
                stage.name,
                part.model,
                part.columns,
                tuple((output.name, output.width) for output in stage.outputs),
            )
            for stage, part in zip(manifest.stage, tried, strict=True)
        ]
        model = tools.merge(graphs)
        columns = tuple(dict.fromkeys(name for part in tried for name in part.columns))
        places = [rows.probe.names.index(name) for name in columns]
        made = tools.run(model, {"features": rows.probe.features[:, places]})
        given, _ = tools.widths(model)
        expected = {name: block.probe for part in tried for name, block in part.produced.items()}
        breaches = [
            f"[H7] beside features it asks for {name}" for name in given if name != "features"
        ]
        breaches += [
            f"[H7] {name} is not what the stages give one after the other"
            for name, values in expected.items()
            if not np.allclose(made[name], values, rtol=10 * TOLERANCE, atol=10 * TOLERANCE)
        ]
        if breaches:
            findings.append(no(GRAPH, "; ".join(breaches), "compute everything in the graph"))
        else:
            findings.append(ok(GRAPH, f"{len(columns)} columns in, {', '.join(expected)} out"))
        _layers(model, tools, findings)


def _layers(model: bytes, tools: Tools, findings: Findings) -> None:
    layers = tools.layers(model)
    if layers:
        findings.append(ok(LAYERS, ", ".join(layers)))
    else:
        found = "[E2] no Gemm or MatMul with constant weights, so int8 has nothing to take"
        findings.append(no(LAYERS, found, "write a linear map with models.float_onnx.Graph.layer"))


def threshold(manifest: Ensemble, fitted: Any, findings: Findings) -> None:
    """The deciding stage sets a threshold when the manifest asks for a calibrated one."""
    declared = manifest.decide.threshold
    if declared != "calibrated":
        findings.append(ok(THRESHOLD, f"{declared:g}, from the manifest"))
        return
    if fitted is None:
        findings.append(untried(THRESHOLD, "the deciding stage was not fitted"))
        return
    value = getattr(fitted, "threshold", None)
    if isinstance(value, int | float) and math.isfinite(value):
        findings.append(ok(THRESHOLD, f"{value:.4g}, calibrated"))
        return
    found = f"[M10] the fitted deciding stage's threshold is {value!r}"
    mend = "give the fitted stage a finite `threshold`, or the manifest a number"
    findings.append(no(THRESHOLD, found, mend))


def classes(manifest: Ensemble, contract: ReadingContract, findings: Findings) -> None:
    """Every label that the contract names is one of the classes, where there are classes."""
    if not manifest.decide.classes or contract.labels is None or not contract.labels.names:
        return
    unknown = sorted(set(contract.labels.names.values()) - set(manifest.decide.classes))
    if unknown:
        found = f"the contract's labels {', '.join(unknown)} are not among decide.classes"
        findings.append(no(CLASSES, found, "name the same classes in both files"))
    else:
        findings.append(ok(CLASSES, ", ".join(manifest.decide.classes)))
