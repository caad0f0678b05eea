"""Stage 1: what normal operation does not explain of each feature.

Missing values are filled, the regression on ambient conditions is taken off, the rest is scaled
robustly and clipped; then a principal subspace of normal windows is projected out. What is left
is the residual: the subspace holds what makes healthy devices differ from one another (cohort,
refrigerant, size), the residual what a fault changes. A dense autoencoder in its place was
measured and lost; see README.md.

Projecting out and scaling what is left is one linear layer, so a chip computes it in int8 from
end to end.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.float_onnx import Graph, inverse
from models.recipe import FloatMatrix, Frame
from models.split import by_hash

NORMAL = "normal"
DRIVERS = (
    "temp_ambient_mean",
    "humidity_mean",
    "door_open_fraction",
    "defrost_active_fraction",
)
"""Load that comes from outside; no fault moves these."""

QUANTILES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999)
_HELD_OUT_SHARE = 6


@dataclass(frozen=True)
class Normal:
    """Normal operation: float32, over [columns] unless said otherwise.

    Attributes:
        fill: What a missing value is taken for: the median.
        drivers: Places of the drivers among the columns, [drivers].
        driver_centre: Their means, [drivers].
        driver_scale: Their standard deviations, [drivers].
        slopes: Regression of each scaled column on the scaled drivers, [drivers, columns].
        centre: Median of the rest.
        scale: Robust standard deviation of the rest.
        clip: Bound of the scaled values, in standard deviations.
        remainder: What is left outside the normal subspace, in its own standard deviations,
            [columns, columns].
        offset: What is left of a zero row.
    """

    fill: FloatMatrix
    drivers: NDArray[np.intp]
    driver_centre: FloatMatrix
    driver_scale: FloatMatrix
    slopes: FloatMatrix
    centre: FloatMatrix
    scale: FloatMatrix
    clip: float
    remainder: FloatMatrix
    offset: FloatMatrix

    def residual(self, features: FloatMatrix) -> FloatMatrix:
        """Scaled residuals [rows, columns] of features, within [-clip, clip]."""
        filled = np.where(np.isnan(features), self.fill, features)
        driven = (filled[:, self.drivers] - self.driver_centre) * inverse(self.driver_scale)
        scaled = (filled - self.centre) * inverse(self.scale)
        for driver, slope in zip(driven.T, self.slopes, strict=True):
            scaled = scaled - driver[:, None] * slope
        within = np.clip(scaled, -self.clip, self.clip)
        left = within @ self.remainder.T + self.offset
        bounded: FloatMatrix = np.clip(left, -self.clip, self.clip)
        return bounded


@dataclass(frozen=True)
class FittedEncoder:
    """The trained stage.

    Attributes:
        normal: Normal operation.
        knots: Quantiles of the mean squared residual of normal windows of devices that were not
            fitted on, increasing, [knots].
        levels: What the error is at each knot, from 0 to 1.
    """

    normal: Normal
    knots: FloatMatrix
    levels: FloatMatrix

    def predict(self, frame: Frame) -> Mapping[str, FloatMatrix]:
        """`residual` [rows, columns] and `reconstruction_error` [rows, 1] in [0, 1]."""
        residual = self.normal.residual(frame.features)
        error = np.interp(mean_square(residual)[:, 0], self.knots, self.levels)
        return {
            "residual": residual,
            "reconstruction_error": error.astype(np.float32)[:, None],
        }

    def to_onnx(self) -> bytes:
        """The same computation.

        The regression is taken off driver by driver, in elementwise steps: a matrix product's
        order of summation differs between machines, and so would its last digit.
        """
        normal, columns = self.normal, len(self.normal.fill)
        graph = Graph("encoder")
        filled = graph.impute(graph.input("features", columns), normal.fill)
        driven = graph.standardise(
            graph.columns(filled, normal.drivers.tolist()),
            normal.driver_centre,
            normal.driver_scale,
        )
        scaled = graph.standardise(filled, normal.centre, normal.scale)
        for place, slope in enumerate(normal.slopes):
            taken = graph.node("Mul", graph.columns(driven, [place]), graph.constant(slope[None]))
            scaled = graph.node("Sub", scaled, taken)
        within = graph.clip(scaled, -normal.clip, normal.clip)
        left = graph.layer(within, normal.remainder, normal.offset)
        residual = graph.clip(left, -normal.clip, normal.clip)
        mean = graph.node(
            "Mul", graph.sum_squares(residual), graph.constant(np.array([1 / columns]))
        )
        graph.output("residual", residual, columns)
        graph.output("reconstruction_error", graph.percentile(mean, self.knots, self.levels), 1)
        return graph.bytes()


@dataclass(frozen=True)
class Encoder:
    """The recipe.

    Attributes:
        components: Dimensions of the normal subspace.
        clip: Bound of scaled values, in standard deviations.
        floor: Least standard deviation of a residual, relative to its column's; below it a
            column is explained so well that rounding would be all that is left.
    """

    components: int = 12
    clip: float = 8.0
    floor: float = 0.25

    def fit(self, frame: Frame, seed: int) -> FittedEncoder:
        """Fit normal rows, or all where none is labelled; nothing is drawn at random.

        The error's scale is set on devices left out of a first fit; the fit that is kept is of
        all of them.
        """
        rows = frame.labels == NORMAL
        frame = frame.rows(rows) if rows.any() else frame
        held_out = _held_out(frame)
        first = self._normal(frame.rows(~held_out))
        errors = mean_square(first.residual(frame.rows(held_out).features))[:, 0]
        levels = (np.array(QUANTILES) - QUANTILES[0]) / (QUANTILES[-1] - QUANTILES[0])
        return FittedEncoder(
            self._normal(frame), rising(np.quantile(errors, QUANTILES)), levels.astype(np.float32)
        )

    def _normal(self, frame: Frame) -> Normal:
        features = frame.features
        fill = medians(features)
        filled = np.where(np.isnan(features), fill, features)
        drivers = np.array([_place(frame.names, name) for name in DRIVERS], dtype=np.intp)
        driver_centre = filled[:, drivers].mean(axis=0)
        driver_scale = np.maximum(filled[:, drivers].std(axis=0), np.float32(1e-3))
        driven = (filled[:, drivers] - driver_centre) * inverse(driver_scale)
        slopes = _slopes(driven, filled)
        slopes[:, drivers] = 0
        centre, scale = robust(filled - driven @ slopes)
        slopes = slopes * inverse(scale)
        scaled = (filled - centre) * inverse(scale) - driven @ slopes
        remainder, offset = self._remainder(np.clip(scaled, -self.clip, self.clip))
        return Normal(
            fill, drivers, driver_centre, driver_scale, slopes, centre, scale, self.clip,
            remainder, offset,
        )  # fmt: skip

    def _remainder(self, scaled: FloatMatrix) -> tuple[FloatMatrix, FloatMatrix]:
        """What lies outside the principal subspace, per standard deviation, and of a zero row."""
        mean = scaled.mean(axis=0, dtype=np.float64)
        covariance = np.cov(scaled, rowvar=False, dtype=np.float64)
        spreads, axes = np.linalg.eigh(covariance)
        kept = axes[:, np.argsort(spreads)[::-1][: self.components]]
        left = np.eye(len(mean)) - kept @ kept.T
        spread = np.sqrt(np.maximum(np.diag(left @ covariance @ left), 0))
        least = self.floor * np.sqrt(np.diag(covariance)) + 1e-3
        inverse_spread = 1 / np.maximum(spread, least)
        return (
            (left * inverse_spread[:, None]).astype(np.float32),
            (-(left @ mean) * inverse_spread).astype(np.float32),
        )


def mean_square(residual: FloatMatrix) -> FloatMatrix:
    """Mean square of each row, [rows, 1]."""
    squares: FloatMatrix = np.square(residual).mean(axis=1, keepdims=True)
    return squares


def medians(features: FloatMatrix) -> FloatMatrix:
    """Median of each column's values, 0 for a column without any."""
    empty = np.isnan(features).all(axis=0)
    filled = np.where(empty, np.float32(0), features)
    return np.nanmedian(filled, axis=0).astype(np.float32)


def robust(values: FloatMatrix) -> tuple[FloatMatrix, FloatMatrix]:
    """Median, and the interquartile range as a standard deviation, of each column.

    A column that hardly ever moves has no interquartile range: a quarter of its standard
    deviation is the least, and a column that never moves gets 1.
    """
    low, centre, high = np.quantile(values, (0.25, 0.5, 0.75), axis=0)
    scale = np.maximum((high - low) / 1.349, values.std(axis=0) / 4)
    return centre.astype(np.float32), np.where(scale > 1e-6, scale, 1).astype(np.float32)


def rising(knots: NDArray[np.float64]) -> FloatMatrix:
    """The knots as float32, each above the one before by at least a millionth of the whole."""
    step = max(1e-6, 1e-6 * float(knots[-1]))
    risen: FloatMatrix = (np.maximum.accumulate(knots) + step * np.arange(len(knots))).astype(
        np.float32
    )
    return risen


def _slopes(driven: FloatMatrix, filled: FloatMatrix) -> FloatMatrix:
    """Least squares with an intercept, by the normal equations; a still driver has slope 0."""
    wide = driven.astype(np.float64)
    wide -= wide.mean(axis=0)
    centred = filled - filled.mean(axis=0)
    normal = wide.T @ wide + 1e-6 * len(wide) * np.eye(wide.shape[1])
    slopes: FloatMatrix = np.linalg.solve(normal, wide.T @ centred).astype(np.float32)
    return slopes


def _held_out(frame: Frame) -> NDArray[np.bool_]:
    """Rows of a sixth of the devices, or of the last sixth of time where there are few."""
    entities = by_hash(np.unique(frame.entities), salt="scale/")
    if len(entities) >= _HELD_OUT_SHARE:
        return np.isin(frame.entities, entities[::_HELD_OUT_SHARE])
    return np.asarray(frame.times >= np.quantile(frame.times, 1 - 1 / _HELD_OUT_SHARE))


def _place(names: tuple[str, ...], feature: str) -> int:
    """Place of a feature in its first view."""
    return next(place for place, name in enumerate(names) if name.partition("__")[2] == feature)
