"""What a trained stage is: a digest over its graph and everything that made it."""

from collections.abc import Mapping
from typing import Any

from firnline.digest import digest


def stage_digest(
    *,
    name: str,
    recipe: str,
    options: Mapping[str, Any],
    onnx: str,
    features: Mapping[str, str],
    upstream: Mapping[str, str],
    training_set: str,
) -> str:
    """sha256 that names a trained stage; a stage's upstream digests are part of its own.

    Args:
        name: The stage's name.
        recipe: `package.module:Class`.
        options: Keywords of the recipe.
        onnx: sha256 of its graph.
        features: Reference -> digest of the versions it reads.
        upstream: `stage.output` -> digest of the stage it learned from.
        training_set: sha256 of the training set.
    """
    return digest(
        {
            "name": name,
            "recipe": recipe,
            "options": dict(options),
            "onnx": onnx,
            "features": dict(features),
            "upstream": dict(upstream),
            "training_set": training_set,
        }
    )
