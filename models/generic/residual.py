"""Stage 1 for any features: what the principal components of normal windows do not explain.

Missing values are filled with the column's median, columns are standardised and clipped, and the
rows are projected on the leading principal components of normal windows. What the projection
leaves is the residual; its mean square is the error (Jackson and Mudholkar 1979, Control
procedures for residuals associated with principal component analysis, Technometrics 21:341).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.float_onnx import Graph, inverse
from models.recipe import FloatMatrix, Frame
from models.split import by_hash

NORMAL = "normal"
QUANTILES = (0.0, 0.5, 0.9, 0.99)
TAIL = (2.0, 4.0, 16.0)
"""The map goes on to these multiples of the last quantile: strong faults rank above weak ones."""

LEVELS = (0.0, 0.2, 0.4, 0.6, 0.75, 0.9, 1.0)
_HELD_OUT_SHARE = 6


@dataclass(frozen=True)
class PcaResidual:
    """The recipe.

    Attributes:
        components: Dimensions of the normal subspace; at most one less than there are columns.
        clip: Bound of standardised columns and of the embedding, in standard deviations.
    """

    components: int
    clip: float = 8.0

    def fit(self, frame: Frame, seed: int) -> "FittedResidual":
        """Fit rows labelled normal, or the unlabelled ones where there are none; draws nothing.

        The error's scale is set on entities left out of a first fit; the fit that is kept is of
        all of them.

        Raises:
            ValueError: There are too few columns, or no row that is normal or unlabelled.
        """
        columns = frame.features.shape[1]
        if not 1 <= self.components < columns:
            raise ValueError(f"components is {self.components}, which is not in 1..{columns - 1}")
        frame = frame.rows(normal_rows(frame))
        held_out = _held_out(frame)
        first = self._subspace(frame.rows(~held_out).features)
        errors = first.errors(frame.rows(held_out).features)[:, 0].astype(np.float64)
        low = np.quantile(errors, QUANTILES)
        return FittedResidual(
            self._subspace(frame.features),
            rising(np.concatenate([low, low[-1] * np.array(TAIL)])),
            np.array(LEVELS, np.float32),
        )

    def _subspace(self, features: FloatMatrix) -> "Subspace":
        empty = np.isnan(features).all(axis=0)
        fill = np.nanmedian(np.where(empty, np.float32(0), features), axis=0).astype(np.float32)
        filled = np.where(np.isnan(features), fill, features).astype(np.float64)
        deviation = filled.std(axis=0)
        scale = np.where(deviation > 1e-6, deviation, 1.0)
        centre = filled.mean(axis=0)
        standard = np.clip((filled - centre) / scale, -self.clip, self.clip)
        variances, axes = np.linalg.eigh(standard.T @ standard / len(standard))
        leading = axes[:, ::-1][:, : self.components]
        # An eigenvector's sign is arbitrary; fixed, so that equal data give equal bytes.
        largest = np.abs(leading).argmax(axis=0)
        leading = leading * np.sign(leading[largest, np.arange(self.components)])
        spread = np.sqrt(np.maximum(variances[::-1][: self.components], 1e-6))
        return Subspace(
            fill=fill,
            centre=centre.astype(np.float32),
            scale=scale.astype(np.float32),
            projection=(leading @ leading.T).astype(np.float32),
            axes=np.ascontiguousarray((leading / spread).T, dtype=np.float32),
            clip=self.clip,
        )


@dataclass(frozen=True)
class Subspace:
    """Normal operation: float32, over [columns] unless said otherwise.

    Attributes:
        fill: What a missing value is taken for: the median.
        centre: Mean.
        scale: Standard deviation; 1 where a column never moves.
        projection: Onto the leading components, [columns, columns].
        axes: The components, each over its standard deviation, [components, columns].
        clip: Bound of standardised columns and of the embedding.
    """

    fill: FloatMatrix
    centre: FloatMatrix
    scale: FloatMatrix
    projection: FloatMatrix
    axes: FloatMatrix
    clip: float

    def standard(self, features: FloatMatrix) -> FloatMatrix:
        """Filled, standardised and clipped, [rows, columns]."""
        filled = np.where(np.isnan(features), self.fill, features)
        standard: FloatMatrix = (filled - self.centre) * inverse(self.scale)
        return np.clip(standard, -self.clip, self.clip)

    def errors(self, features: FloatMatrix) -> FloatMatrix:
        """Mean square of what the projection leaves, [rows, 1]."""
        standard = self.standard(features)
        left = standard - standard @ self.projection.T
        errors: FloatMatrix = np.square(left).mean(axis=1, keepdims=True)
        return errors

    def embedding(self, features: FloatMatrix) -> FloatMatrix:
        """Coordinates on the components in standard deviations, [rows, components]."""
        coordinates: FloatMatrix = self.standard(features) @ self.axes.T
        return np.clip(coordinates, -self.clip, self.clip)


@dataclass(frozen=True)
class FittedResidual:
    """The trained stage.

    Attributes:
        normal: Normal operation.
        knots: Errors of normal windows of entities that were not fitted on, increasing, [knots].
        levels: What an error is mapped to at each knot, 0 to 1.
    """

    normal: Subspace
    knots: FloatMatrix
    levels: FloatMatrix

    def predict(self, frame: Frame) -> Mapping[str, FloatMatrix]:
        """`reconstruction_error` [rows, 1] in [0, 1], `embedding` [rows, components]."""
        errors = self.normal.errors(frame.features)[:, 0]
        mapped = np.interp(errors, self.knots, self.levels).astype(np.float32)
        return {
            "reconstruction_error": mapped[:, None],
            "embedding": self.normal.embedding(frame.features),
        }

    def to_onnx(self) -> bytes:
        """The same computation; projection and axes are the layers int8 takes."""
        normal, (components, columns) = self.normal, self.normal.axes.shape
        graph = Graph("residual")
        filled = graph.impute(graph.input("features", columns), normal.fill)
        standard = graph.standardise(filled, normal.centre, normal.scale)
        within = graph.clip(standard, -normal.clip, normal.clip)
        zeros = np.zeros(columns, np.float32)
        left = graph.node("Sub", within, graph.layer(within, normal.projection, zeros))
        share = graph.constant(np.array([1 / columns]))
        error = graph.node("Mul", graph.sum_squares(left), share)
        graph.output("reconstruction_error", graph.percentile(error, self.knots, self.levels), 1)
        coordinates = graph.layer(within, normal.axes, np.zeros(components, np.float32))
        within = graph.clip(coordinates, -normal.clip, normal.clip)
        graph.output("embedding", within, components)
        return graph.bytes()


def normal_rows(frame: Frame) -> NDArray[np.bool_]:
    """Rows labelled normal; where there are none, the unlabelled ones.

    Raises:
        ValueError: Every row is labelled a fault, or there is no row.
    """
    for label in (NORMAL, ""):
        rows = np.equal(frame.labels, label)
        if rows.any():
            return np.asarray(rows, dtype=bool)
    raise ValueError("no training row is labelled normal, and none is unlabelled")


def rising(knots: NDArray[np.float64]) -> FloatMatrix:
    """The knots as float32, each above the one before by at least a millionth of the whole."""
    step = max(1e-6, 1e-6 * float(knots[-1]))
    risen = np.maximum.accumulate(knots) + step * np.arange(len(knots))
    return np.asarray(risen, dtype=np.float32)


def _held_out(frame: Frame) -> NDArray[np.bool_]:
    """Rows of a sixth of the entities, or of the last sixth of time where there are few."""
    entities = by_hash(np.unique(frame.entities), salt="scale/")
    if len(entities) >= _HELD_OUT_SHARE:
        return np.isin(frame.entities, entities[::_HELD_OUT_SHARE])
    late = np.asarray(frame.times >= np.quantile(frame.times, 1 - 1 / _HELD_OUT_SHARE))
    # One moment in all: nothing can be left out.
    return late if not late.all() else np.arange(len(late)) % 2 == 1
