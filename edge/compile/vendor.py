"""Vendors' NPUs: the QDQ ONNX through the vendor's converter, run in the vendor's simulator.

Their arithmetic is their own, so no byte is held to the reference; decisions are.
"""

from typing import Literal

import numpy as np

from edge.compile import Artifact, Ran
from edge.decide import SCORE
from edge.export.model import Model
from edge.npu.vendor import Converted, agreement, convert
from firnline.contracts.target import Profile

_ROWS = 256
"""Windows simulated: the vendors' simulators take a hundredth of a second or more each."""


def compile_for(kind: Literal["qnn", "rknn"], model: Model, profile: Profile) -> Artifact:
    """Convert, and run rows on the way, as the converter's process holds the simulator.

    Raises:
        DeliveryError: E60 to E69, of the vendor's tools.
    """
    if profile.vendor is None:
        raise ValueError(f"target {profile.name} has no [vendor]")
    made = convert(kind, model.int8_model, profile.vendor.platform, [model.vectors[:_ROWS]])
    left = [f"{name} is left to the processor" for name in made.cpu_operators]
    return Artifact(
        files={made.file: made.content},
        toolchain=made.versions,
        figures={"flash_bytes": len(made.content)},
        notes=tuple(left),
        built=made,
    )


def run(artifact: Artifact, model: Model, profile: Profile) -> Ran:
    """What the simulator made of the rows, beside the reference."""
    made: Converted = artifact.built
    names = list(model.exact)
    rows = len(made.outputs[0])
    wanted = [model.exact[name][:rows].astype(np.float32) for name in names]
    found = agreement(made.outputs, wanted)
    scores = None
    if model.rule is not None:
        scores = np.array(model.golden[SCORE][:, 0])
        scores[:rows] = made.outputs[names.index(SCORE)].reshape(rows)
    note = (
        f"{found.differ:.1%} of {found.values:,} values on {found.vectors:,} windows differ from "
        f"float, by {found.mean:.3g} in the mean and {found.most:.3g} at most; the values' "
        f"deviation is {found.spread:.3g}"
    )
    return Ran(runner=f"simulator of {profile.kind}", values={}, scores=scores, notes=(note,))
