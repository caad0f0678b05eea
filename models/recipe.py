"""What a stage's author writes: three methods, values in, values out."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

FloatMatrix = NDArray[np.float32]


@dataclass(frozen=True)
class Frame:
    """The rows a stage sees.

    Attributes:
        features: Shape [rows, columns]; missing values are NaN.
        names: Column names of `features`, as `view__feature`, in order.
        upstream: `stage.output` -> shape [rows, width], in manifest order.
        labels: Class of each row, shape [rows]; empty text where unknown.
        entities: Key of each row, shape [rows].
        times: End of each row's window, epoch microseconds UTC, shape [rows].
    """

    features: FloatMatrix
    names: tuple[str, ...]
    upstream: Mapping[str, FloatMatrix] = field(default_factory=dict)
    labels: NDArray[np.str_] = field(default_factory=lambda: np.empty(0, dtype=str))
    entities: NDArray[np.str_] = field(default_factory=lambda: np.empty(0, dtype=str))
    times: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))

    def __len__(self) -> int:
        """Rows of the frame."""
        return len(self.features)

    def rows(self, choice: NDArray[np.bool_] | NDArray[np.intp]) -> "Frame":
        """The chosen rows, every part cut alike."""
        return replace(
            self,
            features=self.features[choice],
            upstream={name: block[choice] for name, block in self.upstream.items()},
            labels=self.labels[choice] if len(self.labels) else self.labels,
            entities=self.entities[choice] if len(self.entities) else self.entities,
            times=self.times[choice] if len(self.times) else self.times,
        )


class Fitted(Protocol):
    """A trained stage."""

    def predict(self, frame: Frame) -> Mapping[str, FloatMatrix]:
        """Output name -> shape [rows, width], for every declared output."""
        ...

    def to_onnx(self) -> bytes:
        """The same computation as ONNX, opset 17, default domain, preprocessing inside.

        Inputs are `features` [rows, columns] and each upstream output by its full name
        [rows, width]; outputs carry the declared names, [rows, width]. All float32.
        """
        ...


class Recipe(Protocol):
    """How a stage is trained. A recipe is built with the manifest's `options` as keywords."""

    def fit(self, frame: Frame, seed: int) -> Fitted:
        """Train on a frame; the same frame and seed give the same bytes of ONNX."""
        ...


class Calibrated(Protocol):
    """A fitted last stage that also sets its own decision threshold, on training rows only."""

    threshold: float
