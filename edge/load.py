"""Loading a bundle: on a server or a device, only as one whole ensemble whose stages agree."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import onnxruntime

from edge.pack import MANIFEST, MODEL, read_manifest, stage_file, verify
from firnline.contracts.breach import refuse
from firnline.contracts.facts import of_document
from firnline.contracts.handshake import Facts, check
from firnline.contracts.stages import stage_digest
from firnline.digest import file_digest
from firnline.errors import DeliveryError

Place = Literal["server", "device"]
_MADE_OF = ("name", "recipe", "options", "features", "upstream", "training_set")


@dataclass(frozen=True)
class Loaded:
    """A bundle that may run.

    Attributes:
        manifest: What bundle.json holds.
        facts: What the handshake was told.
        model: The int8 graph.
    """

    manifest: Mapping[str, Any]
    facts: Facts
    model: bytes

    @property
    def features(self) -> dict[str, str]:
        """Reference -> digest of every feature version the ensemble reads."""
        return {
            name: found for stage in self.facts.stages for name, found in stage.features.items()
        }


def load(
    bundle: Path,
    place: Place,
    *,
    lock: Mapping[str, str] | None = None,
    expected: str | None = None,
) -> Loaded:
    """Check a bundle as a whole, and read its model.

    What stages are is computed from the graphs that lie there, not taken from the manifest: a
    stage that was swapped is another stage to the ones that learned from it.

    Args:
        bundle: The folder.
        place: `server` holds features to its own lock; `device` refuses a part of another bundle.
        lock: Published reference -> digest, where the place has a lock of its own.
        expected: Digest that the bundle must have, where it is known from elsewhere.

    Raises:
        HandshakeError: H0 to H8, every breach at once.
        DeliveryError: D1 to D8, the bundle is not whole.
    """
    facts = gather(bundle, place, lock=lock)
    refuse(check(facts), f"{place} load of {bundle}")
    manifest = verify(bundle, expected)
    return Loaded(manifest, facts, (bundle / MODEL).read_bytes())


def gather(bundle: Path, place: Place, *, lock: Mapping[str, str] | None = None) -> Facts:
    """What a bundle tells the handshake; `load` refuses on what comes of it.

    Raises:
        HandshakeError: H0, it holds no record of what belongs together.
        DeliveryError: D1, D5, D6 or D7, its manifest cannot be trusted.
    """
    manifest = read_manifest(bundle)
    facts = of_document(manifest.get("handshake"), str(bundle))
    found = stages_there(bundle, manifest)
    if place == "device":
        facts = replace(facts, held=found)
    else:
        present = tuple(
            replace(stage, digest=found[stage.name])
            for stage in facts.stages
            if stage.name in found
        )
        facts = replace(facts, stages=present)
    if lock is not None:
        facts = replace(facts, lock=lock)
    model = bundle / MODEL
    return replace(facts, inputs=_inputs(model)) if model.is_file() else facts


def stages_there(bundle: Path, manifest: Mapping[str, Any]) -> dict[str, str]:
    """Stage -> digest of every stage whose graph lies in a bundle, from the graph's bytes."""
    found = {}
    for record in manifest["stages"]:
        made_of = {name: record.get(name) for name in _MADE_OF}
        lacking = [name for name, value in made_of.items() if value is None]
        if lacking:
            raise DeliveryError(
                "D1",
                found=f"a stage's record lacks {', '.join(lacking)}",
                where=str(bundle / MANIFEST),
                mend="fetch the bundle again, or build it again with `firnline run`",
            )
        graph = bundle / stage_file(str(made_of["name"]))
        if graph.is_file() and not graph.is_symlink():
            found[str(made_of["name"])] = stage_digest(**made_of, onnx=file_digest(graph))
    return found


def _inputs(model: Path) -> tuple[str, ...]:
    session = onnxruntime.InferenceSession(model.read_bytes(), providers=["CPUExecutionProvider"])
    return tuple(given.name for given in session.get_inputs())
