"""Loading a bundle: on a server or a device, only as one whole ensemble whose stages agree."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import onnxruntime

from edge.chain import of_document as chain_of
from edge.verify import DEVICE, MANIFEST, MODEL, read_manifest, stage_file, verify
from firnline.contracts.breach import refuse
from firnline.contracts.facts import of_document
from firnline.contracts.handshake import Facts, check
from firnline.contracts.stages import stage_digest
from firnline.digest import bytes_digest, file_digest
from firnline.errors import DeliveryError

Place = Literal["server", "device"]
_MADE_OF = {
    "name": str,
    "recipe": str,
    "options": dict,
    "features": dict,
    "upstream": dict,
    "training_set": str,
}
_MEND = "fetch the bundle again, or build it again with `firnline run`"


@dataclass(frozen=True)
class Loaded:
    """A bundle that may run.

    Attributes:
        manifest: What bundle.json holds.
        facts: What the handshake was told.
        graphs: File -> bytes of every graph that runs, in order; none where a target's own
            tools run it.
    """

    manifest: Mapping[str, Any]
    facts: Facts
    graphs: Mapping[str, bytes]

    @property
    def model(self) -> bytes:
        """The int8 graph of a whole bundle."""
        return self.graphs[MODEL]

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
    """Check a bundle as a whole, and read its graphs.

    What stages are is computed from the graphs that lie there, not taken from the manifest: a
    stage that was swapped is another stage to the ones that learned from it. ONNX Runtime opens no
    graph that has not the digest the manifest names.

    Args:
        bundle: The folder: a whole bundle, or on a device that of its target.
        place: `server` holds features to its own lock; `device` refuses a part of another bundle.
        lock: Published reference -> digest, where the place has a lock of its own.
        expected: Digest that the bundle must have, where it is known from elsewhere.

    Raises:
        HandshakeError: H0 to H8, every breach at once.
        DeliveryError: D1 to D8, the bundle is not whole; D9, it cannot run at this place.
    """
    facts = gather(bundle, place, lock=lock)
    refuse(check(facts), f"{place} load of {bundle}")
    manifest = verify(bundle, expected)
    return Loaded(manifest, facts, _graphs(bundle, manifest))


def gather(bundle: Path, place: Place, *, lock: Mapping[str, str] | None = None) -> Facts:
    """What a bundle tells the handshake; `load` refuses on what comes of it.

    Raises:
        HandshakeError: H0, it holds no record of what belongs together.
        DeliveryError: D1, D5, D6 or D7, its manifest cannot be trusted; D9, it is a device's and
            this a server, or ONNX Runtime does not open a graph.
    """
    manifest = read_manifest(bundle)
    if place == "server" and manifest["kind"] == DEVICE:
        raise _useless(f"a device's bundle, for {str(manifest.get('target'))[:64]}", bundle)
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
    inputs = _inputs(bundle, manifest)
    return facts if inputs is None else replace(facts, inputs=inputs)


def stages_there(bundle: Path, manifest: Mapping[str, Any]) -> dict[str, str]:
    """Stage -> digest of every stage whose graph lies in a bundle, from the graph's bytes.

    Raises:
        DeliveryError: D1, a stage's record is not whole; D5, its name or a file is unsafe.
    """
    found = {}
    for record in manifest["stages"]:
        made_of = _made_of(record, bundle)
        graph = bundle / stage_file(made_of["name"])
        # A link would have been refused with the manifest.
        if graph.is_file():
            found[made_of["name"]] = stage_digest(**made_of, onnx=file_digest(graph))
    return found


def _made_of(record: Any, bundle: Path) -> dict[str, Any]:
    fields = record if isinstance(record, dict) else {}
    lacking = [name for name, kind in _MADE_OF.items() if not isinstance(fields.get(name), kind)]
    if lacking:
        raise DeliveryError(
            "D1",
            found=f"a stage's record lacks {', '.join(lacking)}",
            where=str(bundle / MANIFEST),
            mend=_MEND,
        )
    return {name: fields[name] for name in _MADE_OF}


def _inputs(bundle: Path, manifest: Mapping[str, Any]) -> tuple[str, ...] | None:
    """What the graphs take from outside, in order; None where there are none.

    What lacks or was altered is not opened; `verify` tells of it.
    """
    graphs = _graphs(bundle, manifest)
    if not graphs:
        return None
    made: set[str] = set()
    taken: dict[str, None] = {}
    outputs = {link.graph: link.outputs for link in chain_of(manifest.get("run", []))}
    for name, content in graphs.items():
        try:
            inputs, gives = _ends(content)
        except Exception as error:  # ONNX Runtime raises several unrelated kinds here.
            told = str(error).partition("\n")[0][:200]
            raise _useless(f"ONNX Runtime does not open {name}: {told}", bundle) from error
        taken |= dict.fromkeys(given for given in inputs if given not in made)
        lacking = [wanted for wanted in outputs.get(name, ()) if wanted not in gives]
        if lacking:
            raise _useless(f"{name} does not give {', '.join(lacking)}", bundle)
        made |= gives
    return tuple(taken)


def _graphs(bundle: Path, manifest: Mapping[str, Any]) -> dict[str, bytes]:
    """File -> bytes of the graphs that run, those that have the digest they are named with."""
    links = chain_of(manifest.get("run", []))
    device = manifest["kind"] == DEVICE
    names = [link.graph for link in links] if device else [MODEL]
    graphs = {}
    for name in names:
        path = bundle / name
        content = path.read_bytes() if path.is_file() else b""
        if bytes_digest(content) == manifest["files"].get(name):
            graphs[name] = content
    return graphs


def _ends(content: bytes) -> tuple[tuple[str, ...], set[str]]:
    """Names of what a graph takes and gives."""
    options = onnxruntime.SessionOptions()
    # Only its ends are looked at.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    inputs = tuple(given.name for given in session.get_inputs())
    return inputs, {made.name for made in session.get_outputs()}


def _useless(found: str, bundle: Path) -> DeliveryError:
    mend = "give the bundle of this place: `firnline run` makes the whole, the channel a device's"
    return DeliveryError("D9", found=found, where=str(bundle), mend=mend)
