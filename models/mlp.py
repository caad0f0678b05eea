"""A small multi-layer perceptron in NumPy: dense layers, ReLU between them, Adam.

Written out rather than taken from a library for three reasons: float32 throughout, as in the
ONNX graph; weights by row; and the same bytes for the same seed.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

FloatMatrix = NDArray[np.float32]

_DECAY_MEAN, _DECAY_SQUARE, _EPSILON = 0.9, 0.999, 1e-8  # Kingma and Ba 2015, Adam, algorithm 1.


@dataclass(frozen=True)
class Mlp:
    """Trained layers.

    Attributes:
        weights: One a layer, [out, in].
        biases: One a layer, [out].
    """

    weights: tuple[FloatMatrix, ...]
    biases: tuple[FloatMatrix, ...]

    def activations(self, rows: FloatMatrix) -> list[FloatMatrix]:
        """The input and every layer's output [rows, out]; after ReLU, but for the last."""
        values = [rows]
        for place, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            made = values[-1] @ weight.T + bias
            values.append(made if place == len(self.weights) - 1 else np.maximum(made, 0))
        return values


@dataclass(frozen=True)
class Training:
    """How a perceptron is trained.

    Attributes:
        loss: `squares` for targets [rows, out], `classes` for class numbers [rows].
        epochs: Passes over the rows.
        batch: Rows a step.
        rate: Adam's step size, falling to zero along a half cosine.
        decay: Weight decay a step, relative to the rate (Loshchilov and Hutter 2019, AdamW).
        noise: Standard deviation of Gaussian noise on the inputs while training.
    """

    loss: Literal["squares", "classes"]
    epochs: int
    batch: int = 256
    rate: float = 1e-3
    decay: float = 1e-4
    noise: float = 0.0


def train(
    rows: FloatMatrix,
    targets: FloatMatrix | NDArray[np.intp],
    row_weights: FloatMatrix,
    hidden: Sequence[int],
    outputs: int,
    how: Training,
    seed: int,
) -> Mlp:
    """Fit layers to rows.

    Args:
        rows: Shape [rows, in], already scaled.
        targets: As `Training.loss` says.
        row_weights: Shape [rows].
        hidden: Widths between input and output.
        outputs: Width of the output.
        how: The training.
        seed: Of the first weights, the order of rows and the noise.
    """
    random = np.random.default_rng(seed)
    widths = (rows.shape[1], *hidden, outputs)
    parameters: list[FloatMatrix] = []
    for before, after in itertools.pairwise(widths):
        spread = np.sqrt(2.0 / before)  # He et al. 2015, for ReLU.
        parameters.append(random.normal(0, spread, (after, before)).astype(np.float32))
        parameters.append(np.zeros(after, np.float32))
    means = [np.zeros_like(value) for value in parameters]
    squares = [np.zeros_like(value) for value in parameters]
    steps = how.epochs * max(1, len(rows) // how.batch)
    for step, chosen in enumerate(_batches(len(rows), how, random), start=1):
        given = rows[chosen]
        if how.noise:
            given = given + np.float32(how.noise) * random.standard_normal(
                given.shape, dtype=np.float32
            )
        net = Mlp(tuple(parameters[::2]), tuple(parameters[1::2]))
        gradients = _gradients(net, given, targets[chosen], row_weights[chosen], how.loss)
        rate = how.rate * 0.5 * (1 + np.cos(np.pi * step / steps))
        corrected = rate * np.sqrt(1 - _DECAY_SQUARE**step) / (1 - _DECAY_MEAN**step)
        for place, gradient in enumerate(gradients):
            means[place] += np.float32(1 - _DECAY_MEAN) * (gradient - means[place])
            squares[place] += np.float32(1 - _DECAY_SQUARE) * (gradient**2 - squares[place])
            parameters[place] -= np.float32(rate * how.decay) * parameters[place]
            parameters[place] -= (
                np.float32(corrected) * means[place] / (np.sqrt(squares[place]) + _EPSILON)
            ).astype(np.float32)
    return Mlp(tuple(parameters[::2]), tuple(parameters[1::2]))


def softmax(values: FloatMatrix) -> FloatMatrix:
    """Softmax over each row."""
    raised = np.exp(values - values.max(axis=1, keepdims=True))
    shares: FloatMatrix = raised / raised.sum(axis=1, keepdims=True)
    return shares


def _batches(rows: int, how: Training, random: np.random.Generator) -> Iterator[NDArray[np.intp]]:
    for _ in range(how.epochs):
        order = random.permutation(rows)
        for place in range(max(1, rows // how.batch)):
            yield order[place * how.batch : (place + 1) * how.batch]


def _gradients(
    net: Mlp,
    rows: FloatMatrix,
    targets: FloatMatrix | NDArray[np.intp],
    row_weights: FloatMatrix,
    loss: str,
) -> list[FloatMatrix]:
    """Of every weight and bias in turn, by back-propagation."""
    values = net.activations(rows)
    if loss == "classes":
        error = softmax(values[-1])
        error[np.arange(len(rows)), targets.astype(np.intp)] -= 1
    else:
        error = values[-1] - targets.astype(np.float32)
    error *= (row_weights / row_weights.sum())[:, None]
    gradients: list[FloatMatrix] = []
    for place in range(len(net.weights) - 1, -1, -1):
        gradients[:0] = [error.T @ values[place], error.sum(axis=0)]
        if place:
            error = (error @ net.weights[place]) * (values[place] > 0)
    return gradients
