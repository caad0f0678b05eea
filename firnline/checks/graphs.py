"""Checks of a stage's graph: declared inputs and outputs, any batch, and what `predict` says."""

from typing import Any

import numpy as np

from firnline.checks.finding import Findings, no, ok
from firnline.checks.rows import Produced, Rows, name_of
from firnline.checks.tools import FloatMatrix, Tools, Widths
from firnline.contracts.ensemble import Stage

TOLERANCE = 1e-5
_BATCH_ROWS = 7
_GRAPH_MEND = "return the graph that models.recipe.Fitted.to_onnx describes"


def declared_graph(
    stage: Stage, fitted: Any, rows: Rows, tools: Tools, findings: Findings
) -> bytes | None:
    """The stage's graph, when its inputs and outputs are those declared (H4)."""
    name = name_of(stage, "graph")
    with findings.trying(name, _GRAPH_MEND):
        model = fitted.to_onnx()
        given, made = tools.widths(model)
        wanted: Widths = {block: values.shape[1] for block, values in rows.fit.upstream.items()}
        breaches = [
            f"[H4] input {block} is no upstream output"
            for block in sorted(set(given) - {"features", *wanted})
        ]
        breaches += _unlike("[H4] input", given, wanted | {"features": len(rows.fit.names)})
        declared: Widths = {output.name: output.width for output in stage.outputs}
        breaches += [f"[M9] it has no output {block}" for block in declared if block not in made]
        breaches += _unlike("[M9] output", made, declared)
        if not breaches:
            findings.append(ok(name, f"{len(model):,} bytes; {', '.join(given)} in"))
            return bytes(model)
        findings.append(no(name, "; ".join(breaches), _GRAPH_MEND))
    return None


def _unlike(role: str, found: Widths, declared: Widths) -> list[str]:
    return [
        f"{role} {block} has {width} columns, not {declared[block]}"
        for block, width in found.items()
        if block in declared and width is not None and width != declared[block]
    ]


def same_seed(
    stage: Stage, model: bytes, rows: Rows, tools: Tools, seed: int, findings: Findings
) -> None:
    """The same rows and seed give the same bytes of ONNX."""
    name = name_of(stage, "same seed, same bytes")
    with findings.trying(name, "draw from numpy.random.default_rng(seed) alone"):
        again = tools.recipe(stage).fit(rows.fit, seed).to_onnx()
        if again == model:
            findings.append(ok(name, f"seed {seed}"))
        else:
            found = "two fits of the same rows with the same seed give different graphs"
            mend = "draw from numpy.random.default_rng(seed) alone, and iterate over no set"
            findings.append(no(name, found, mend))


def any_batch(stage: Stage, model: bytes, rows: Rows, tools: Tools, findings: Findings) -> bool:
    """Any number of rows goes in, and no row's answer depends on the others."""
    name = name_of(stage, "any batch")
    mend = "leave the first dimension open: [rows, width]"
    inputs = _inputs(rows.filled)
    whole, refused_sizes = None, []
    for size in (len(rows.filled), _BATCH_ROWS, 1):
        try:
            made = tools.run(model, {block: values[:size] for block, values in inputs.items()})
        except Exception as error:  # ONNX Runtime raises kinds that share nothing else.
            refused_sizes.append(f"{size} rows ({str(error).splitlines()[0]})")
            continue
        whole = whole or made
        alike = all(
            np.shape(made[o.name]) == (size, o.width)
            and _difference(made[o.name], whole[o.name][:size]) <= TOLERANCE
            for o in stage.outputs
        )
        if not alike:
            found = f"{size} rows alone give other outputs than the same rows among others"
            findings.append(no(name, found, "let no row of the graph depend on another"))
            return False
    if refused_sizes:
        findings.append(no(name, f"[M9] the graph refuses {'; '.join(refused_sizes)}", mend))
        return False
    findings.append(ok(name, f"1, {_BATCH_ROWS} and {len(rows.filled)} rows"))
    return True


def equals_predict(
    stage: Stage,
    model: bytes,
    rows: Rows,
    produced: dict[str, Produced],
    tools: Tools,
    findings: Findings,
) -> bool:
    """The graph says what `predict` says, on whole rows and on rows with gaps (H7)."""
    for what, kind, mend in (
        ("graph equals predict", "filled", "compute the same in to_onnx as in predict, in float32"),
        (
            "H7 preprocessing inside",
            "probe",
            "fill missing values in the graph, with models.float_onnx.Graph.impute",
        ),
    ):
        name = name_of(stage, what)
        made = tools.run(model, _inputs(getattr(rows, kind)))
        apart = {
            output.name: _difference(
                made[output.name], getattr(produced[f"{stage.name}.{output.name}"], kind)
            )
            for output in stage.outputs
        }
        worst = max(apart, key=lambda output: apart[output])
        if not apart[worst] <= TOLERANCE:
            code = "[H7] with missing values " if kind == "probe" else ""
            found = f"{code}{worst} lies {apart[worst]:.3g} from predict, over {TOLERANCE:g}"
            findings.append(no(name, found, mend))
            return False
        findings.append(ok(name, f"within {apart[worst]:.1e} of predict"))
    return True


def _difference(made: FloatMatrix, expected: FloatMatrix) -> float:
    """Largest difference, relative where values are above 1; infinite where not finite."""
    if made.shape != expected.shape or not np.isfinite(made).all():
        return float("inf")
    scale = np.maximum(np.abs(expected), 1)
    return float((np.abs(made.astype(np.float64) - expected) / scale).max(initial=0.0))


def _inputs(frame: Any) -> dict[str, FloatMatrix]:
    return {"features": frame.features, **frame.upstream}
