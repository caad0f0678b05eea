"""Checks of one stage: its recipe fits, says what it declares, and its graph says the same."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from firnline.checks.finding import Findings, no, ok, untried
from firnline.checks.tools import FloatMatrix, Tools, Widths
from firnline.contracts.ensemble import Output, Stage

TOLERANCE = 1e-5
_RANGE_TOLERANCE = 1e-6
_BATCH_ROWS = 7
_GRAPH_MEND = "return the graph that models.recipe.Fitted.to_onnx describes"
# These say that code is wrong; anything else may say that rows are not to its liking.
_WRONG_CODE = (
    NameError, TypeError, AttributeError, ImportError, NotImplementedError, SyntaxError,
)  # fmt: skip

Outputs = dict[str, FloatMatrix]


@dataclass(frozen=True)
class Rows:
    """Frames of the same columns.

    Attributes:
        fit: What recipes are fitted on; values are missing.
        filled: The same rows with every gap closed.
        probe: The rows of `fit`, and one in which everything is missing.
    """

    fit: Any
    filled: Any
    probe: Any

    def of_stage(self, stage: Stage, produced: Mapping[str, "Produced"]) -> "Rows":
        """As the stage sees them: the columns of its own views, and its upstream outputs."""
        prefixes = tuple(f"{reference.partition('@')[0]}__" for reference in stage.features)
        names = self.fit.names
        order = [
            place
            for prefix in prefixes
            for place, name in enumerate(names)
            if name.startswith(prefix)
        ]
        chosen = tuple(names[place] for place in order)
        frames = {}
        for kind in ("fit", "filled", "probe"):
            upstream = {name: getattr(produced[name], kind) for name in stage.upstream}
            frame = getattr(self, kind)
            frames[kind] = replace(
                frame, features=frame.features[:, order], names=chosen, upstream=upstream
            )
        return Rows(**frames)


@dataclass(frozen=True)
class Produced:
    """One output for each of the frames of `Rows`, [rows, width]."""

    fit: FloatMatrix
    filled: FloatMatrix
    probe: FloatMatrix


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


def name_of(stage: Stage, what: str) -> str:
    """Name of a stage's finding."""
    return f"stage {stage.name}: {what}"


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
        return Tried(None, columns, _stand_ins(stage, rows), None)
    produced = _outputs(stage, fitted, rows, findings)
    model = _graph(stage, fitted, rows, tools, findings)
    if model is not None:
        _seed(stage, model, rows, tools, seed, findings)
    if produced is None or model is None:
        why = "its predict or its graph, above, is not sound"
        findings.append(untried(name_of(stage, "graph equals predict"), why))
        return Tried(fitted, columns, produced or _stand_ins(stage, rows), None)
    sound = _batch(stage, model, rows, tools, findings)
    sound = sound and _equal(stage, model, rows, produced, tools, findings)
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


def _graph(stage: Stage, fitted: Any, rows: Rows, tools: Tools, findings: Findings) -> bytes | None:
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


def _seed(
    stage: Stage, model: bytes, rows: Rows, tools: Tools, seed: int, findings: Findings
) -> None:
    name = name_of(stage, "same seed, same bytes")
    with findings.trying(name, "draw from numpy.random.default_rng(seed) alone"):
        again = tools.recipe(stage).fit(rows.fit, seed).to_onnx()
        if again == model:
            findings.append(ok(name, f"seed {seed}"))
        else:
            found = "two fits of the same rows with the same seed give different graphs"
            mend = "draw from numpy.random.default_rng(seed) alone, and iterate over no set"
            findings.append(no(name, found, mend))


def _batch(stage: Stage, model: bytes, rows: Rows, tools: Tools, findings: Findings) -> bool:
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


def _equal(
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


def _stand_ins(stage: Stage, rows: Rows) -> dict[str, Produced]:
    """Values within the declared ranges, so that later stages can be tried all the same."""
    random = np.random.default_rng(0)
    made = {}
    for output in stage.outputs:
        low, high = output.range or (0.0, 1.0)
        blocks = {
            kind: random.uniform(low, high, (len(getattr(rows, kind)), output.width))
            for kind in ("fit", "filled", "probe")
        }
        made[f"{stage.name}.{output.name}"] = Produced(
            **{kind: block.astype(np.float32) for kind, block in blocks.items()}
        )
    return made
