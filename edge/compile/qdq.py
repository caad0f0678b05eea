"""A QDQ ONNX for other vendors' tools, held to the rules they share."""

from pathlib import Path

import onnx

from edge.compile import Artifact, Ran
from edge.compile.cpu import run_here
from edge.export.model import Model
from edge.npu.qdq_rules import check, static
from firnline.contracts.breach import Breach, refuse
from firnline.contracts.target import Profile

EXACT = True
FILE = "model.qdq.onnx"


def ready(profile: Profile) -> None:
    """ONNX Runtime is always here, and the vendors' tools are not asked."""


def compile(model: Model, profile: Profile, folder: Path) -> Artifact:
    """Give the batch its fixed size, and check every rule.

    Raises:
        HandshakeError: E54, a rule is broken, with the nodes that break it.
    """
    content = static(model.int8_model)
    rules = check(content)
    broken = [
        Breach(
            "E54",
            found=f"{rule.about}: broken",
            where=", ".join(rule.where),
            mend="quantise with per-channel weights and no float layers, or choose that vendor's "
            "own target",
        )
        for rule in rules
        if not rule.good
    ]
    refuse(tuple(broken), f"{model.name} for other vendors' tools")
    return Artifact(
        files={FILE: content},
        toolchain={"onnx": onnx.__version__},
        figures={"flash_bytes": len(content)},
        notes=tuple(f"kept: {rule.about}" for rule in rules),
    )


def run(artifact: Artifact, model: Model, profile: Profile) -> Ran:
    """Run it in ONNX Runtime, on whatever machine this is, as the vendor's own tool is not here."""
    return run_here(artifact.files[FILE], model, reduced=False)
