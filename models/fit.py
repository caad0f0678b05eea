"""Training an ensemble: stages in manifest order, out-of-fold between them."""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import pyarrow.parquet as pq
from threadpoolctl import threadpool_limits

from firnline.contracts.ensemble import Ensemble, Output, Stage
from firnline.contracts.features import parse_reference
from firnline.errors import HandshakeError
from firnline.evidence.scores import DecisionRule, rule_of
from models.float_onnx import StageGraph, union_columns
from models.kept import KeptStage
from models.recipe import Fitted, FloatMatrix, Frame, Recipe
from models.split import Mask, Parts, folds

_TIME = "event_timestamp"
_RANGE_TOLERANCE = 1e-6


@dataclass(frozen=True)
class FittedStage:
    """One trained stage.

    Attributes:
        stage: Its part of the manifest.
        columns: Columns of its features, in order.
        fitted: What its recipe made.
    """

    stage: Stage
    columns: tuple[str, ...]
    fitted: Fitted

    def graph(self) -> StageGraph:
        """The stage's ONNX with what `merge` needs to know of it."""
        widths = tuple((output.name, output.width) for output in self.stage.outputs)
        return StageGraph(self.stage.name, self.fitted.to_onnx(), self.columns, widths)


@dataclass(frozen=True)
class FittedEnsemble:
    """Every stage, trained on all training rows.

    Attributes:
        manifest: What was trained.
        stages: In manifest order.
        rule: From outputs to decisions, threshold included.
        out_of_fold: `stage.output` -> the outputs later stages were trained on, for all rows;
            NaN where a row was not predicted.
    """

    manifest: Ensemble
    stages: tuple[FittedStage, ...]
    rule: DecisionRule
    out_of_fold: Mapping[str, FloatMatrix]

    def predict(self, frame: Frame) -> dict[str, FloatMatrix]:
        """Each output by `stage.output`, [rows, width], for rows of any frame."""
        produced: dict[str, FloatMatrix] = {}
        with threadpool_limits(1):
            for part in self.stages:
                produced |= _predict(part.stage, part.fitted, _view(frame, part.stage, produced))
        return produced

    def graphs(self) -> tuple[StageGraph, ...]:
        """Every stage's graph, in manifest order, as `models.float_onnx.merge` takes them."""
        return tuple(part.graph() for part in self.stages)

    def columns(self) -> tuple[str, ...]:
        """Columns of the merged graph's input."""
        return union_columns(self.graphs())


def load_frame(training_set: Path, key: str, references: Sequence[str]) -> Frame:
    """Read a training set.

    Args:
        training_set: Parquet with the key, `event_timestamp`, `view__feature` and `label`.
        key: The entity's column.
        references: Feature views as `name@vN`; columns of others are left out.

    Raises:
        HandshakeError: M13, the training set lacks a view's columns.
    """
    file = pq.ParquetFile(training_set)
    prefixes = {reference: f"{parse_reference(reference)[0]}__" for reference in references}
    available = list(file.schema_arrow.names)
    names: list[str] = []
    for reference, prefix in prefixes.items():
        found = [name for name in available if name.startswith(prefix)]
        if not found:
            raise HandshakeError(
                "M13",
                found=f"no column of {reference}",
                where=str(training_set),
                mend="build the training set anew from the ensemble's feature references",
            )
        names += found
    features = np.empty((file.metadata.num_rows, len(names)), dtype=np.float32)
    for place, name in enumerate(names):
        column = file.read(columns=[name]).column(0)
        features[:, place] = column.to_numpy(zero_copy_only=False)
    rest = file.read(columns=[key, _TIME, "label"])
    return Frame(
        features=features,
        names=tuple(names),
        labels=np.array(rest.column("label").fill_null("").to_pylist(), dtype=str),
        entities=np.array(rest.column(key).to_pylist(), dtype=str),
        times=rest.column(_TIME).cast("int64").to_numpy(),
    )


def fit_ensemble(
    manifest: Ensemble,
    frame: Frame,
    parts: Parts,
    kept: Mapping[str, KeptStage] | None = None,
) -> FittedEnsemble:
    """Train every stage on training rows alone.

    A stage that others read is fitted once more for each fold, and its outputs for the fold's
    rows come from the fit that did not see them. Later stages train on those, so that they
    learn from what the stage says of rows it does not know, as on a device (Wolpert 1992,
    Stacked generalization). The stage that is released is fitted on all of its training rows.

    The same frame, manifest and seed give the same bytes of ONNX on one kind of processor,
    whatever its number of cores: everything runs on one thread of the linear algebra.

    Args:
        manifest: What to train.
        frame: All rows, with the columns of `manifest.references()`.
        parts: Which of them train.
        kept: Stage -> what it was trained to before; these are not trained again.

    Raises:
        HandshakeError: M6 a recipe cannot be had, M7 its outputs are not those declared, M10 no
            threshold where the manifest asks for one, M11 a recipe failed.
    """
    read = {name.partition(".")[0] for stage in manifest.stage for name in stage.upstream}
    out_of_fold: dict[str, FloatMatrix] = {}
    stages = []
    with threadpool_limits(1):
        for stage in manifest.stage:
            view = _view(frame, stage, out_of_fold)
            if kept and stage.name in kept:
                before = kept[stage.name]
                if stage.name in read:
                    out_of_fold |= before.outputs(stage.name, view)
                stages.append(FittedStage(stage, view.names, before.fitted))
                continue
            recipe = recipe_of(stage)
            rows = parts.train & _predicted(stage, out_of_fold)
            if stage.name in read:
                out_of_fold |= _out_of_fold(stage, recipe, view, rows, manifest)
            fitted = _fit(stage, recipe, view.rows(rows), manifest.split.seed)
            stages.append(FittedStage(stage, view.names, fitted))
    rule = _rule(manifest, tuple(stages))
    return FittedEnsemble(manifest, tuple(stages), rule, out_of_fold)


def recipe_of(stage: Stage) -> Recipe:
    """Import a stage's recipe and build it with the stage's options.

    Raises:
        HandshakeError: M6, it cannot be imported or built, or has no `fit`.
    """
    module_name, _, class_name = stage.recipe.partition(":")
    try:
        made = getattr(importlib.import_module(module_name), class_name)(**stage.options)
        if not callable(getattr(made, "fit", None)):
            raise TypeError(f"{class_name} has no method fit")
    except Exception as error:
        raise HandshakeError(
            "M6",
            found=f"{type(error).__name__}: {error}",
            where=f"recipe {stage.recipe!r} of stage {stage.name!r}",
            mend="make it importable from the project folder, and its options its keywords",
        ) from error
    return cast(Recipe, made)


def _out_of_fold(
    stage: Stage, recipe: Recipe, view: Frame, rows: Mask, manifest: Ensemble
) -> dict[str, FloatMatrix]:
    made = {
        f"{stage.name}.{output.name}": np.full((len(view), output.width), np.nan, np.float32)
        for output in stage.outputs
    }
    for fit_on, predict_on in folds(view, rows, manifest.split):
        fitted = _fit(stage, recipe, view.rows(fit_on), manifest.split.seed)
        for name, values in _predict(stage, fitted, view.rows(predict_on)).items():
            made[name][predict_on] = values
    return made


def _predicted(stage: Stage, out_of_fold: Mapping[str, FloatMatrix]) -> Mask:
    """Rows for which every upstream output is there; all, for a stage without upstream."""
    masks = [~np.isnan(out_of_fold[name]).any(axis=1) for name in stage.upstream]
    return cast(Mask, np.logical_and.reduce(masks)) if masks else np.True_  # type: ignore[return-value]


def _view(frame: Frame, stage: Stage, produced: Mapping[str, FloatMatrix]) -> Frame:
    """The frame as a stage sees it: its own views' columns, and its upstream outputs."""
    prefixes = tuple(f"{parse_reference(reference)[0]}__" for reference in stage.features)
    order = [
        place
        for prefix in prefixes
        for place, name in enumerate(frame.names)
        if name.startswith(prefix)
    ]
    whole = order == list(range(len(frame.names)))
    return replace(
        frame,
        features=frame.features if whole else frame.features[:, order],
        names=tuple(frame.names[place] for place in order),
        upstream={name: produced[name] for name in stage.upstream},
    )


def _fit(stage: Stage, recipe: Recipe, frame: Frame, seed: int) -> Fitted:
    try:
        return recipe.fit(frame, seed)
    except HandshakeError:
        raise
    except Exception as error:
        raise HandshakeError(
            "M11",
            found=f"{type(error).__name__}: {error}",
            where=f"fit of stage {stage.name!r} on {len(frame)} rows",
            mend=f"correct {stage.recipe}, or give it rows it can be fitted on",
        ) from error


def _predict(stage: Stage, fitted: Fitted, frame: Frame) -> dict[str, FloatMatrix]:
    """Outputs by `stage.output`, held to what the manifest declares."""
    made = fitted.predict(frame)
    breaches = [
        f"{output.name}: {breach}"
        for output in stage.outputs
        if (breach := _breach(output, made.get(output.name), len(frame)))
    ]
    if breaches:
        raise HandshakeError(
            "M7",
            found="; ".join(breaches),
            where=f"predict of stage {stage.name!r}",
            mend="make predict return what the stage's outputs declare in ensemble.toml",
        )
    return {f"{stage.name}.{output.name}": made[output.name] for output in stage.outputs}


def _breach(output: Output, values: FloatMatrix | None, rows: int) -> str | None:
    if values is None:
        return "missing"
    if values.shape != (rows, output.width):
        return f"shape {values.shape}, not ({rows}, {output.width})"
    if values.dtype != np.float32:
        return f"dtype {values.dtype}, not float32"
    if not np.isfinite(values).all():
        return f"{int((~np.isfinite(values)).any(axis=1).sum())} rows are not finite"
    low, high = output.range or (-np.inf, np.inf)
    if rows and not low - _RANGE_TOLERANCE <= values.min() <= values.max() <= (
        high + _RANGE_TOLERANCE
    ):
        return f"{values.min():.6g} to {values.max():.6g} leaves the range [{low:g}, {high:g}]"
    return None


def _rule(manifest: Ensemble, stages: tuple[FittedStage, ...]) -> DecisionRule:
    deciding = manifest.decide.output.partition(".")[0]
    fitted = next(part.fitted for part in stages if part.stage.name == deciding)
    try:
        return rule_of(manifest.decide, getattr(fitted, "threshold", None))
    except ValueError as error:
        raise HandshakeError(
            "M10",
            found=f"the fitted stage {deciding!r} has no threshold",
            where='decide.threshold = "calibrated"',
            mend="give the fitted stage a `threshold`, or a number in ensemble.toml",
        ) from error
