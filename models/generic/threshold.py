"""Stage 2 for any upstream outputs: one score in [0, 1], and the threshold a budget allows.

An upstream output of one column counts as an error (more is worse), a wider one as coordinates
(farther from the normal centre is worse). Where both normal and faulty rows are labelled, a
ridge logistic regression weighs them; elsewhere they count alike.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from firnline.contracts.ensemble import Split
from models.float_onnx import Graph, inverse
from models.generic.residual import normal_rows
from models.recipe import FloatMatrix, Frame
from models.split import folds

CLIP = 6.0
_NEWTON_STEPS = 25

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class CalibratedScore:
    """The recipe.

    Attributes:
        false_alarms: Share of normal training rows that the threshold may flag.
        min_faulty: Labelled faulty rows below which labels are not learned from.
        ridge: Penalty on the weights, in rows.
    """

    false_alarms: float = 0.02
    min_faulty: int = 20
    ridge: float = 1.0

    def fit(self, frame: Frame, seed: int) -> "FittedScore":
        """Weigh the upstream outputs; the threshold comes from rows the weights have not seen.

        Raises:
            ValueError: The stage reads no upstream output, or no row is normal or unlabelled.
        """
        if not frame.upstream:
            raise ValueError("the stage reads no upstream output, so there is nothing to score")
        normal = normal_rows(frame)
        faulty = (frame.labels != "") & ~normal
        learned = bool((frame.labels[normal] != "").any()) and faulty.sum() >= self.min_faulty
        scores = np.full(len(frame), np.nan)
        if learned:
            for fit_on, predict_on in folds(frame, np.ones(len(frame), bool), Split()):
                if normal[fit_on].any() and faulty[fit_on].any():
                    fitted = self._weigh(frame.rows(fit_on), normal[fit_on], faulty[fit_on])
                    scores[predict_on] = fitted.scores(frame.rows(predict_on))[:, 0]
        whole = self._weigh(frame, normal, faulty if learned else np.zeros(len(frame), bool))
        counted = scores[normal & ~np.isnan(scores)]
        if not len(counted):
            counted = whole.scores(frame.rows(normal))[:, 0].astype(np.float64)
        threshold = float(np.quantile(counted, 1 - self.false_alarms))
        return replace(whole, threshold=threshold)

    def _weigh(
        self, frame: Frame, normal: NDArray[np.bool_], faulty: NDArray[np.bool_]
    ) -> "FittedScore":
        blocks = tuple((name, block.shape[1]) for name, block in frame.upstream.items())
        columns = np.hstack(list(frame.upstream.values())).astype(np.float64)
        deviation = columns[normal].std(axis=0)
        scale = np.where(deviation > 1e-6, deviation, 1.0).astype(np.float32)
        even = FittedScore(
            blocks, columns[normal].mean(axis=0).astype(np.float32), scale, _even(blocks), 0.0
        )
        terms = even.terms(frame).astype(np.float64)
        if faulty.any():
            known = normal | faulty
            weights, bias = _logistic(terms[known], faulty[known], self.ridge)
        else:
            level = terms[normal] @ _even(blocks)
            spread = max(float(level.std()), 1e-6)
            weights = _even(blocks) / spread
            # Half lies at the budget, so that scores can be read without the threshold.
            bias = -float(np.quantile(level, 1 - self.false_alarms)) / spread
        return FittedScore(blocks, even.centre, scale, weights.astype(np.float32), float(bias))


@dataclass(frozen=True)
class FittedScore:
    """The trained stage.

    Attributes:
        blocks: Name and width of each upstream output, in order.
        centre: Mean of each upstream column over normal rows, [columns].
        scale: Its standard deviation, [columns].
        weights: Of the terms: each column, then the square of each coordinate, [terms].
        bias: Added to the weighed terms.
        threshold: Score above which a row is flagged.
    """

    blocks: tuple[tuple[str, int], ...]
    centre: FloatMatrix
    scale: FloatMatrix
    weights: NDArray[np.floating]
    bias: float
    threshold: float = 0.5

    def terms(self, frame: Frame) -> FloatMatrix:
        """What is weighed, [rows, terms]."""
        columns = np.hstack([frame.upstream[name] for name, _ in self.blocks])
        standard = np.clip((columns - self.centre) * inverse(self.scale), -CLIP, CLIP)
        return np.hstack([standard, np.square(standard[:, _coordinates(self.blocks)])])

    def scores(self, frame: Frame) -> FloatMatrix:
        """The score, [rows, 1]."""
        weighed = (self.terms(frame) * self.weights.astype(np.float32)).sum(axis=1, keepdims=True)
        # Beyond this the score is 0 or 1 in float32 anyhow, and exp would overflow.
        level = np.clip(weighed + np.float32(self.bias), -40, 40)
        return np.asarray(1 / (1 + np.exp(-level)), dtype=np.float32)

    def predict(self, frame: Frame) -> Mapping[str, FloatMatrix]:
        """`score` [rows, 1] in [0, 1]."""
        return {"score": self.scores(frame)}

    def to_onnx(self) -> bytes:
        """The same computation, all of it in float: it is a handful of products."""
        graph = Graph("score")
        given = [graph.input(name, width) for name, width in self.blocks]
        columns = graph.concat(*given) if len(given) > 1 else given[0]
        terms = graph.clip(graph.standardise(columns, self.centre, self.scale), -CLIP, CLIP)
        if places := _coordinates(self.blocks):
            chosen = graph.columns(terms, places)
            terms = graph.concat(terms, graph.node("Mul", chosen, chosen))
        weighed = graph.node("Mul", terms, graph.constant(self.weights[None]))
        total = graph.node("ReduceSum", weighed, graph.constant(np.array([1])), keepdims=1)
        level = graph.node("Add", total, graph.constant(np.array([self.bias])))
        graph.output("score", graph.sigmoid(graph.clip(level, -40.0, 40.0)), 1)
        return graph.bytes()


def _coordinates(blocks: tuple[tuple[str, int], ...]) -> list[int]:
    """Places of the columns that belong to outputs of more than one column."""
    wide = [width > 1 for _, width in blocks for _ in range(width)]
    return [place for place, inside in enumerate(wide) if inside]


def _even(blocks: tuple[tuple[str, int], ...]) -> Floats:
    """Weights without labels: 1 on each error, 1 / width on each squared coordinate."""
    errors = [float(width == 1) for _, width in blocks for _ in range(width)]
    squares = [1 / width for _, width in blocks if width > 1 for _ in range(width)]
    return np.array([*errors, *squares])


def _logistic(terms: Floats, faulty: NDArray[np.bool_], ridge: float) -> tuple[Floats, float]:
    """Ridge logistic regression by Newton's steps; both classes weigh the same in all.

    Args:
        terms: Shape [rows, terms].
        faulty: The truth, [rows], both kinds present.
        ridge: Penalty on the squared weights; the bias has none.
    """
    rows = np.hstack([terms, np.ones((len(terms), 1))])
    shares = np.where(faulty, 0.5 / faulty.mean(), 0.5 / (1 - faulty.mean()))
    penalty = np.full(rows.shape[1], ridge)
    penalty[-1] = 1e-6
    weights = np.zeros(rows.shape[1])
    for _ in range(_NEWTON_STEPS):
        chance = 1 / (1 + np.exp(-np.clip(rows @ weights, -40, 40)))
        slope = rows.T @ (shares * (chance - faulty)) + penalty * weights
        curve = (rows * (shares * chance * (1 - chance))[:, None]).T @ rows
        step = np.linalg.solve(curve + np.diag(penalty), slope)
        # Full steps may overshoot where the classes lie far apart.
        weights -= step * min(1.0, 5.0 / max(float(np.abs(step).max()), 1e-12))
    return weights[:-1], float(weights[-1])
