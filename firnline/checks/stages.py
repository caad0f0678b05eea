"""Checks of one stage: its recipe fits, says what it declares, and its graph says the same."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from firnline.checks.finding import Findings, no, ok, untried
from firnline.checks.graphs import any_batch, declared_graph, equals_predict, same_seed
from firnline.checks.rows import Produced, Rows, name_of, stand_ins
from firnline.checks.tools import Tools
from firnline.contracts.ensemble import Output, Stage

_RANGE_TOLERANCE = 1e-6
# These say that code is wrong; anything else may say that rows are not to its liking.
_WRONG_CODE = (
    NameError, TypeError, AttributeError, ImportError, NotImplementedError, SyntaxError,
)  # fmt: skip


@dataclass(frozen=True)
class Tried:
    """What came of a stage.

    Attributes:
        fitted: What its recipe made; None where it could not be fitted.
        columns: Columns of its features.
        produced: `stage.output` -> its values; stand-ins within the declared range where
            `predict` is not to be trusted.
        model: Its graph, where that says what `predict` says.
    """

    fitted: Any
    columns: tuple[str, ...]
    produced: dict[str, Produced]
    model: bytes | None


def recipe_of(stage: Stage, tools: Tools, findings: Findings) -> Any:
    """The stage's recipe, built with its options; None where it cannot be had."""
    name = name_of(stage, "recipe")
    with findings.trying(name, "make it importable from the project folder"):
        made = tools.recipe(stage)
        options = ", ".join(f"{key} = {value}" for key, value in stage.options.items())
        findings.append(ok(name, f"{stage.recipe}({options})"))
        return made
    return None


def try_stage(
    stage: Stage, recipe: Any, rows: Rows, tools: Tools, seed: int, findings: Findings
) -> Tried:
    """Fit a stage on generated rows and hold its graph to its `predict`.

    Args:
        stage: Its part of the manifest.
        recipe: What `recipe_of` gave, or None.
        rows: As the stage sees them.
        tools: How graphs are read and run.
        seed: The split's seed.
        findings: Where findings go.
    """
    columns = rows.fit.names
    fitted = _fit(stage, recipe, rows, seed, findings) if recipe is not None else None
    if fitted is None:
        return Tried(None, columns, stand_ins(stage, rows), None)
    produced = _outputs(stage, fitted, rows, findings)
    model = declared_graph(stage, fitted, rows, tools, findings)
    if model is not None:
        same_seed(stage, model, rows, tools, seed, findings)
    if produced is None or model is None:
        why = "its predict or its graph, above, is not sound"
        findings.append(untried(name_of(stage, "graph equals predict"), why))
        return Tried(fitted, columns, produced or stand_ins(stage, rows), None)
    sound = any_batch(stage, model, rows, tools, findings)
    sound = sound and equals_predict(stage, model, rows, produced, tools, findings)
    return Tried(fitted, columns, produced, model if sound else None)


def _fit(stage: Stage, recipe: Any, rows: Rows, seed: int, findings: Findings) -> Any:
    name = name_of(stage, "fit")
    try:
        fitted = recipe.fit(rows.fit, seed)
    except _WRONG_CODE as error:
        found = f"[M11] {type(error).__name__}: {error}"
        findings.append(no(name, found, f"correct fit of {stage.recipe}"))
        return None
    except Exception as error:
        why = f"fit refuses generated rows ({type(error).__name__}: {error})"
        mend = "this need not be wrong: `firnline run` tells on your readings"
        findings.append(untried(name, why, mend))
        return None
    lacking = [
        method for method in ("predict", "to_onnx") if not callable(getattr(fitted, method, None))
    ]
    if lacking:
        found = f"[M11] it returned {type(fitted).__name__}, without {' and '.join(lacking)}"
        findings.append(no(name, found, "return what models.recipe.Fitted describes"))
        return None
    findings.append(ok(name, f"{len(rows.fit)} generated rows, {len(rows.fit.names)} columns"))
    return fitted


def _outputs(
    stage: Stage, fitted: Any, rows: Rows, findings: Findings
) -> dict[str, Produced] | None:
    """What `predict` says of every frame, when that is what the manifest declares."""
    name = name_of(stage, "outputs")
    mend = "make predict return what the stage's outputs declare in ensemble.toml"
    with findings.trying(name, mend):
        made = {
            kind: dict(fitted.predict(frame))
            for kind, frame in (("fit", rows.fit), ("filled", rows.filled), ("probe", rows.probe))
        }
        breaches = {
            f"{output.name}: {breach}": None
            for kind, values in made.items()
            for output in stage.outputs
            if (breach := _breach(output, values.get(output.name), len(getattr(rows, kind))))
        }
        if breaches:
            findings.append(no(name, f"[M7] {'; '.join(breaches)}", mend))
            return None
        told = ", ".join(f"{output.name} [rows, {output.width}]" for output in stage.outputs)
        findings.append(ok(name, told))
        return {
            f"{stage.name}.{output.name}": Produced(
                **{kind: values[output.name] for kind, values in made.items()}
            )
            for output in stage.outputs
        }
    return None


def _breach(output: Output, values: Any, rows: int) -> str | None:
    if not isinstance(values, np.ndarray):
        return "missing" if values is None else f"{type(values).__name__}, not an array"
    if values.shape != (rows, output.width):
        columns = "x".join(str(length) for length in values.shape[1:]) or "no"
        return f"{columns} columns, not {output.width}"
    if values.dtype != np.float32:
        return f"dtype {values.dtype}, not float32"
    if not np.isfinite(values).all():
        return "not finite where features are missing, or everywhere"
    low, high = output.range or (-np.inf, np.inf)
    least, most = float(values.min()), float(values.max())
    if least < low - _RANGE_TOLERANCE or most > high + _RANGE_TOLERANCE:
        return f"leaves its range [{low:g}, {high:g}]"
    return None
