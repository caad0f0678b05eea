"""What the checks need of the trees above them, handed in by whoever calls."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firnline.contracts.ensemble import Stage

FloatMatrix = NDArray[np.float32]
Widths = dict[str, int | None]


@dataclass(frozen=True)
class Tools:
    """How recipes are had, and how graphs are read and run.

    Attributes:
        frame: `models.recipe.Frame`.
        recipe: Imports and builds a stage's recipe; HandshakeError M6.
        stage_graph: `models.float_onnx.StageGraph`.
        merge: Joins stage graphs into one; HandshakeError M9.
        run: Graph, inputs by name -> outputs by name.
        widths: Graph -> its inputs and its outputs with their widths, None where not fixed.
        layers: Graph -> names of the layers that int8 takes.
        target: Target and project folder -> its line for people; DeliveryError E80 or E81.
    """

    frame: Callable[..., Any]
    recipe: Callable[[Stage], Any]
    stage_graph: Callable[..., Any]
    merge: Callable[[list[Any]], bytes]
    run: Callable[[bytes, Mapping[str, FloatMatrix]], dict[str, FloatMatrix]]
    widths: Callable[[bytes], tuple[Widths, Widths]]
    layers: Callable[[bytes], list[str]]
    target: Callable[[str, Path], str]
