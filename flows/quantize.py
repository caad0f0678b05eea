"""Within step 4: one float graph -> int8, and whether it decides as float does."""

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from firnline import wiring
from firnline.digest import bytes_digest
from firnline.evidence.scores import DecisionRule
from firnline.workload import Workload
from flows.rows import divided
from flows.steps import Document, Results, Step, code, folder_of, run_step

if TYPE_CHECKING:
    from edge.parity_run import Parity
    from edge.quantize import Quantized
    from firnline.contracts.quantize import Quantize

_CODE = (
    "edge.calibration",
    "edge.decide",
    "edge.parity_run",
    "edge.quantize",
    "firnline.evidence.scores",
)
FLOAT, INT8, CALIBRATION, VECTORS = "float.onnx", "int8.onnx", "calibration.npy", "vectors.npz"


def quantized(workload: Workload, before: Results) -> Document:
    """Quantise the candidate and hold int8 to the manifest's limits.

    Its folder holds both graphs, with the decision among their outputs, the calibration rows and
    the windows that proofs are made on.

    Raises:
        EvidenceError: E1, int8 lies too far from float.
    """
    inputs = {
        "train": before["train"]["key"],
        "parity": workload.manifest.parity.model_dump(),
        "quantize": workload.manifest.quantize.model_dump(),
        "code": code(*_CODE, packages=("numpy", "onnx", "onnxruntime")),
    }

    def make(out: Path) -> Document:
        return _quantize(workload, before, out)

    return run_step(Step(workload.name, "quantize", inputs, "quantising", make, _summary))


def _quantize(workload: Workload, before: Results, out: Path) -> Document:
    from edge.calibration import choose, sample
    from edge.decide import with_decision
    from edge.export.model import VECTORS as ROWS
    from edge.parity_run import enforce, gate

    manifest, trained = workload.manifest, before["train"]
    frame, parts = divided(manifest, before["features"])
    float_model = (folder_of(trained) / "ensemble.onnx").read_bytes()
    held_out = frame.rows(parts.test)
    calibration = choose(frame.rows(parts.train), manifest.quantize.calibration_rows)
    rule = DecisionRule.of(trained)
    made, found, how = _within_limits(workload, float_model, calibration.features, held_out, rule)
    models = (with_decision(float_model, rule), with_decision(made.model, rule))
    digests = {"float": bytes_digest(models[0]), "int8": bytes_digest(models[1])}
    training_set = before["features"]["training_set"]
    decision = gate(
        manifest.name, found, manifest.parity, {**digests, "training_set": training_set}
    )
    wiring.ledger().append(decision)
    enforce(decision)
    proved = held_out.rows(sample(held_out, ROWS))
    files = {
        FLOAT: models[0],
        INT8: models[1],
        CALIBRATION: npy(calibration.features),
        VECTORS: _npz(proved.features, proved.labels.astype(np.str_)),
    }
    for name, content in files.items():
        (out / name).write_bytes(content)
    return {
        "onnx": digests,
        "parity": {**found.document(), "verdict": decision.verdict},
        "decision": decision.document(),
        "calibration": calibration.document(),
        "layers": list(made.layers),
        "how": how.model_dump(mode="json"),
        "notes": list(made.notes),
    }


def _within_limits(
    workload: Workload,
    float_model: bytes,
    calibration: NDArray[np.float32],
    held_out: Any,
    rule: DecisionRule,
) -> "tuple[Quantized, Parity, Quantize]":
    """The int8 graph and how it was made; with `mixed`, layers go to float until the gate holds."""
    from edge.parity_run import gate, parity
    from edge.quantize import quantize

    manifest = workload.manifest
    how = manifest.quantize
    made = quantize(float_model, calibration, how)

    def judged(candidate: "Quantized") -> "tuple[Parity, bool]":
        found = parity(float_model, candidate.model, held_out.features, held_out.labels, rule)
        return found, gate(manifest.name, found, manifest.parity, {}).verdict == "accept"

    found, good = judged(made)
    if good or not how.mixed:
        return made, found, how
    from edge.quantize.mixed import ranked

    harmful = ranked(float_model, calibration, how)
    for count in range(1, len(harmful)):
        layers = (*manifest.quantize.float_layers, *harmful[:count])
        how = manifest.quantize.model_copy(update={"float_layers": layers})
        made = quantize(float_model, calibration, how)
        found, good = judged(made)
        if good:
            break
    return made, found, how


def npy(rows: NDArray[Any]) -> bytes:
    """An array as the bytes of an .npy file."""
    stream = io.BytesIO()
    np.save(stream, rows, allow_pickle=False)
    return stream.getvalue()


def _npz(features: NDArray[np.float32], labels: NDArray[np.str_]) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, features=features, labels=labels)
    return stream.getvalue()


def _summary(document: Document) -> str:
    return str(document["decision"]["reason"])
