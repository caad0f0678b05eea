"""Rockchip: an .rknn model."""

from pathlib import Path

from edge.compile import Artifact
from edge.compile.vendor import compile_for, run
from edge.export.model import Model
from edge.toolchains import environment
from firnline.contracts.target import Profile

EXACT = False

__all__ = ["EXACT", "compile", "ready", "run"]


def ready(profile: Profile) -> None:
    """See that the vendor's environment is here.

    Raises:
        DeliveryError: E61, it is not.
    """
    environment("rknn")


def compile(model: Model, profile: Profile, folder: Path) -> Artifact:
    """Convert it in the vendor's environment."""
    return compile_for("rknn", model, profile)
