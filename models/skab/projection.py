"""Stage 1: how far a reading's last 30 seconds lie from the rig's own normal state.

Each rig's features are standardised by its own training rows, then projected on the principal
components that all rigs share. T-squared is the distance within the leading components, SPE
(also called Q) the squared residual outside of them (Jackson and Mudholkar 1979, Control
procedures for residuals associated with principal component analysis, Technometrics 21:341).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.float_onnx import Graph
from models.recipe import FloatMatrix, Frame
from models.skab.rigs import Floats, RigTable, by_rig, places, unit


@dataclass(frozen=True)
class Projection:
    """How it is trained.

    Attributes:
        components: Leading components; the rest is residual.
        clip: Standardised features are kept within plus and minus this.
        floor: Least deviation of a rig's feature, as a share of all rigs' geometric mean.
    """

    components: int
    clip: float
    floor: float

    def fit(self, frame: Frame, seed: int) -> "FittedProjection":
        """Take every rig's normal state, and the components of all; nothing is random."""
        codes, rows = by_rig(frame)
        features = frame.features[:, places(frame)[1]].astype(np.float64)
        rigs = [_filled(features[of_rig]) for of_rig in rows]
        deviations = np.stack([values.std(axis=0) for values in rigs])
        pooled = np.exp(np.log(deviations + 1e-6).mean(axis=0))
        scales = np.maximum(deviations, self.floor * pooled) + 1e-9
        centres = np.stack([values.mean(axis=0) for values in rigs])
        standard = [
            np.clip((values - centre) / scale, -self.clip, self.clip)
            for values, centre, scale in zip(rigs, centres, scales, strict=True)
        ]
        weights, residual = _components(np.vstack(standard), self.components)
        return FittedProjection(
            centre=RigTable(codes, _with_unknown(centres, centres.mean(axis=0))),
            inverse_scale=RigTable(codes, _with_unknown(1 / scales, 1 / pooled)),
            weights=weights,
            residual=residual,
            components=self.components,
            clip=self.clip,
            names=frame.names,
        )


@dataclass(frozen=True)
class FittedProjection:
    """A trained projection.

    Attributes:
        centre: Each rig's means, [rigs + 1, width].
        inverse_scale: Each rig's inverse deviations, [rigs + 1, width].
        weights: Whitening map [width, width]: components by falling variance.
        residual: Variance of each residual component, [width - components].
        components: Leading components.
        clip: Bound of standardised features.
        names: Columns of the features.
    """

    centre: RigTable
    inverse_scale: RigTable
    weights: NDArray[np.float32]
    residual: NDArray[np.float32]
    components: int
    clip: float
    names: tuple[str, ...]

    def predict(self, frame: Frame) -> dict[str, FloatMatrix]:
        """`t2` and `spe`, each [rows, 1], at least 0."""
        code, rest = places(frame)
        codes, values = frame.features[:, code], frame.features[:, rest]
        standard = (values - self.centre.look_up(codes)) * self.inverse_scale.look_up(codes)
        standard = np.nan_to_num(standard, nan=0.0, posinf=self.clip, neginf=-self.clip)
        projected = np.clip(standard, -self.clip, self.clip) @ self.weights
        leading, trailing = projected[:, : self.components], projected[:, self.components :]
        return {
            "t2": unit((leading**2).sum(axis=1)),
            "spe": unit((trailing**2 * self.residual).sum(axis=1)),
        }

    def to_onnx(self) -> bytes:
        """The same as a graph; the projection is its one layer."""
        code = self.names.index("rig_window__rig_code")
        rest = [place for place in range(len(self.names)) if place != code]
        width, lead = len(rest), self.components
        graph = Graph("projection")
        features = graph.input("features", len(self.names))
        codes = graph.columns(features, [code])
        shifted = graph.node("Sub", graph.columns(features, rest), self.centre.node(graph, codes))
        scaled = graph.node("Mul", shifted, self.inverse_scale.node(graph, codes))
        known = graph.impute(scaled, np.zeros(width, np.float32))
        clipped = graph.clip(known, -self.clip, self.clip)
        zeros = np.zeros(width, np.float32)
        projected = graph.layer(clipped, np.ascontiguousarray(self.weights.T), zeros)
        leading = graph.columns(projected, range(lead))
        trailing = graph.columns(projected, range(lead, width))
        spread = graph.constant(np.sqrt(self.residual)[None])
        graph.output("t2", graph.sum_squares(leading), 1)
        graph.output("spe", graph.sum_squares(graph.node("Mul", trailing, spread)), 1)
        return graph.bytes()


def _filled(values: Floats) -> Floats:
    """Rows of one rig with every gap filled from the next row that has a value."""
    filled = values.copy()
    for row in range(len(filled) - 2, -1, -1):
        gaps = np.isnan(filled[row])
        filled[row, gaps] = filled[row + 1, gaps]
    return np.where(np.isnan(filled), 0.0, filled)


def _with_unknown(known: Floats, unknown: Floats) -> NDArray[np.float32]:
    return np.vstack([known, unknown]).astype(np.float32)


def _components(standard: Floats, leading: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Whitening map [width, width], and the variances of what is not leading."""
    variances, axes = np.linalg.eigh(standard.T @ standard / len(standard))
    variances, axes = variances[::-1].clip(min=1e-12), axes[:, ::-1]
    # An eigenvector's sign is arbitrary; fixed, so that equal data give equal bytes.
    largest = np.abs(axes).argmax(axis=0)
    axes = axes * np.sign(axes[largest, np.arange(axes.shape[1])])
    return (axes / np.sqrt(variances)).astype(np.float32), variances[leading:].astype(np.float32)
