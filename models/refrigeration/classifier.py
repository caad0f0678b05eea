"""Stage 2: which fault, from the residuals that stage 1 leaves.

Faults are rare and each training fault is seen on a handful of devices. So what a fault does to
a device (its residual less the device's own normal one) is also laid on other devices: the
classifier then learns the fault and not whose it was.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from firnline.contracts.ensemble import Split
from models.float_onnx import Graph
from models.mlp import Mlp, Training, softmax, train
from models.recipe import FloatMatrix, Frame
from models.split import folds

CLASSES = (
    "normal",
    "compressor_vibration_spike",
    "refrigerant_leak",
    "temperature_drift",
    "sensor_failure",
    "intermittent_dropout",
    "condenser_fouling",
    "evaporator_fan_failure",
    "valve_hunting",
    "slow_leak",
    "short_cycling",
    "sensor_drift",
)
"""By column of the output; the manifest's `decide.classes` names the same."""

RESIDUAL = "encoder.residual"


@dataclass(frozen=True)
class FittedClassifier:
    """The trained stage.

    Attributes:
        net: From residual to a logit a class.
        threshold: Score, 1 - P(normal), above which a window is flagged.
    """

    net: Mlp
    threshold: float

    def predict(self, frame: Frame) -> Mapping[str, FloatMatrix]:
        """`fault_probability` [rows, classes], each row summing to 1."""
        return {"fault_probability": softmax(self.net.activations(inputs(frame))[-1])}

    def to_onnx(self) -> bytes:
        """The same computation; the residual alone goes in, every dense layer is one for int8."""
        graph = Graph("classifier")
        value = graph.input(RESIDUAL, self.net.weights[0].shape[1])
        last = len(self.net.weights) - 1
        for place, (weight, bias) in enumerate(zip(self.net.weights, self.net.biases, strict=True)):
            value = graph.layer(value, weight, bias)
            value = graph.softmax(value) if place == last else graph.relu(value)
        graph.output("fault_probability", value, len(CLASSES))
        return graph.bytes()


@dataclass(frozen=True)
class FaultClassifier:
    """The recipe.

    Attributes:
        hidden: Widths of hidden layers; none is logistic regression.
        copies: Times every faulty row is laid on another device.
        epochs: Passes over the rows.
        false_alarms: Share of normal windows the threshold may flag, on devices not trained on.
        clip: Bound of the residuals, as the encoder clips them.
    """

    hidden: tuple[int, ...] = ()
    copies: int = 6
    epochs: int = 10
    false_alarms: float = 0.02
    clip: float = 8.0

    def fit(self, frame: Frame, seed: int) -> FittedClassifier:
        """Fit labelled rows; the threshold comes from devices the fit has not seen.

        Raises:
            ValueError: A label is no class, or there is no normal row.
        """
        frame = frame.rows(frame.labels != "")
        classes = class_numbers(frame.labels)
        if not (classes == 0).any():
            raise ValueError("no training row is labelled normal, so nothing can be told from it")
        everything = np.ones(len(frame), bool)
        scores = np.full(len(frame), np.nan, np.float32)
        for fit_on, predict_on in folds(frame, everything, Split()):
            net = self._net(frame.rows(fit_on), classes[fit_on], seed)
            scores[predict_on] = (
                1 - softmax(net.activations(inputs(frame.rows(predict_on)))[-1])[:, 0]
            )
        normal = scores[(classes == 0) & ~np.isnan(scores)]
        threshold = float(np.quantile(normal, 1 - self.false_alarms)) if len(normal) else 0.5
        net = self._net(frame, classes, seed)
        return FittedClassifier(net, threshold)

    def _net(self, frame: Frame, classes: NDArray[np.intp], seed: int) -> Mlp:
        rows, copied = inputs(frame), transplanted(frame, classes, self.copies, self.clip, seed)
        seen = np.bincount(classes, minlength=len(CLASSES))
        rows = np.concatenate([rows, copied[0]])
        classes = np.concatenate([classes, copied[1]])
        counts = np.maximum(np.bincount(classes, minlength=len(CLASSES)), 1)
        # The root tempers the imbalance without letting one rare window outweigh a thousand.
        weights = (1 / np.sqrt(counts))[classes].astype(np.float32)
        how = Training("classes", self.epochs, batch=1024, rate=1e-2, decay=0.1, noise=0.5)
        net = train(rows, classes, weights, self.hidden, len(CLASSES), how, seed)
        return at_prior(net, np.maximum(seen, 1) / np.sqrt(counts))


def at_prior(net: Mlp, ratio: NDArray[np.float64]) -> Mlp:
    """The net with probabilities for the classes' true shares, not those it was trained with.

    Args:
        net: Trained with other shares.
        ratio: True share over trained share of each class, up to a common factor (Saerens et
            al. 2002, Neural Computation 14:21, equation 2.4).
    """
    shifted = (net.biases[-1] + np.log(ratio / ratio[0])).astype(np.float32)
    return Mlp(net.weights, (*net.biases[:-1], shifted))


def inputs(frame: Frame) -> FloatMatrix:
    """What the net reads, [rows, inputs]."""
    return frame.upstream[RESIDUAL]


def class_numbers(labels: NDArray[np.str_]) -> NDArray[np.intp]:
    """Column of each row's class.

    Raises:
        ValueError: A label is no class.
    """
    number = {name: place for place, name in enumerate(CLASSES)}
    unknown = sorted(set(labels.tolist()) - set(number))
    if unknown:
        raise ValueError(f"labels {', '.join(unknown)} are no classes of this ensemble")
    return np.array([number[label] for label in labels.tolist()], dtype=np.intp)


def transplanted(
    frame: Frame, classes: NDArray[np.intp], copies: int, clip: float, seed: int
) -> tuple[FloatMatrix, NDArray[np.intp]]:
    """Faulty rows laid on other devices: rows [n, inputs] and their classes [n].

    A fault's trace is the row less the mean of its device's normal rows; columns that either
    device does not report carry none. Devices without a normal row neither give nor take.
    """
    rows = inputs(frame)
    _, device = np.unique(frame.entities, return_inverse=True)
    own, healthy = _normal_means(rows, device, classes == 0)
    missing = np.isnan(frame.features)
    faulty = np.flatnonzero((classes > 0) & healthy[device])
    normal = np.flatnonzero(classes == 0)
    random = np.random.default_rng(seed)
    made = [rows[:0]]
    for _ in range(copies):
        onto = random.choice(normal, len(faulty))
        trace = rows[faulty] - own[device[faulty]]
        trace[missing[faulty] | missing[onto]] = 0
        made.append(np.clip(own[device[onto]] + trace, -clip, clip))
    return np.concatenate(made).astype(np.float32), np.tile(classes[faulty], copies)


def _normal_means(
    rows: FloatMatrix, device: NDArray[np.intp], normal: NDArray[np.bool_]
) -> tuple[FloatMatrix, NDArray[np.bool_]]:
    """Mean normal row of each device [devices, inputs], and which devices have one."""
    counts = np.bincount(device[normal], minlength=int(device.max(initial=-1)) + 1)
    sums = np.zeros((len(counts), rows.shape[1]))
    np.add.at(sums, device[normal], rows[normal])
    return (sums / np.maximum(counts, 1)[:, None]).astype(np.float32), counts > 0
