"""Device bundles of two tiny stages, with real graphs, a true handshake and golden vectors.

`make(folder)` writes one; another `encoder` or `classifier` is another release that differs in
that stage alone. Weights and scales are powers of two, so int8 gives the same bytes everywhere.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from edge.folder import pretty
from firnline.contracts.facts import document as facts_document
from firnline.contracts.handshake import Clock, Columns, Facts, StageFacts
from firnline.contracts.places import manifest_path, part_path
from firnline.contracts.stages import stage_digest
from firnline.digest import bytes_digest, digest

ENSEMBLE, TARGET = "small", "cpu-x86_64"
VIEW = "window@v1"
LOCK = {VIEW: "d" * 64}
WIDTH = 4
COLUMNS = tuple(f"window__{letter}" for letter in "abcd")
CLASSES = ("normal", "leak", "drift")
GOLDEN = 16
_CLOCK = Clock("device", "device_id", "window_end", 900, 900)
_RESIDUAL = Columns("float32", WIDTH, (-8.0, 8.0))
_CHANCE = Columns("float32", len(CLASSES), (0.0, 1.0))
_LAST = ("classifier.fault_probability", "score", "flagged", "fault")
_STEPS = (
    ("encoder", ("features",), ("encoder.residual",)),
    ("classifier", ("encoder.residual",), _LAST),
)


@dataclass(frozen=True)
class Made:
    """A device bundle that lies in a folder.

    Attributes:
        folder: Where.
        release: Digest of the whole bundle it is part of.
        target: Its target.
        ensemble: Its name.
        files: Name -> bytes, bundle.json too.
    """

    folder: Path
    release: str
    target: str
    ensemble: str
    files: Mapping[str, bytes]

    @property
    def manifest(self) -> bytes:
        """The bytes of bundle.json: the TUF target of this release."""
        return self.files["bundle.json"]

    @property
    def sha256(self) -> str:
        """Of the manifest."""
        return bytes_digest(self.manifest)

    @property
    def document(self) -> dict[str, Any]:
        """What the manifest holds."""
        return dict(json.loads(self.manifest))

    @property
    def path(self) -> str:
        """TUF target path of the manifest."""
        return manifest_path(self.ensemble, self.target, self.release)

    @property
    def parts(self) -> dict[str, bytes]:
        """Path under `parts/` -> bytes, for every file but the manifest."""
        return {
            part_path(bytes_digest(content)): content
            for name, content in self.files.items()
            if name != "bundle.json"
        }


def make(
    folder: Path,
    encoder: int = 1,
    classifier: int = 1,
    *,
    ensemble: str = ENSEMBLE,
    target: str = TARGET,
    release: str | None = None,
    files: Mapping[str, bytes] | None = None,
    manifest: Mapping[str, Any] | None = None,
) -> Made:
    """Write a device bundle.

    Args:
        folder: To make; what lies there stays beside it.
        encoder: Which encoder, 1 to 60; another number is another stage.
        classifier: Which classifier.
        ensemble: Its name.
        target: Its target, of the kind cpu.
        release: Digest of the whole bundle; drawn from the two stages when not given.
        files: Further files, or others in place of these (golden vectors that lie, say).
        manifest: Fields of bundle.json to set; the digest is computed after.
    """
    release = release or digest([ensemble, encoder, classifier])
    content = _contents(encoder, classifier, target) | dict(files or {})
    body = _body(content, encoder, classifier, ensemble, target, release) | dict(manifest or {})
    content["bundle.json"] = pretty({**body, "digest": digest(body)})
    for name, data in content.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return Made(folder, release, target, ensemble, content)


def rows(count: int, seed: int = 0) -> np.ndarray:
    """Rows to score, float32 [count, WIDTH]."""
    return np.random.default_rng(seed).normal(scale=2, size=(count, WIDTH)).astype(np.float32)


def chain(files: Mapping[str, bytes], given: np.ndarray) -> dict[str, np.ndarray]:
    """Every output of a bundle's stages, run one after the other."""
    values: dict[str, np.ndarray] = {"features": given}
    for name, inputs, outputs in _STEPS:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.add_session_config_entry("session.qdqisint8allowed", "1")
        session = onnxruntime.InferenceSession(
            files[f"stages/{name}.int8.onnx"], options, providers=["CPUExecutionProvider"]
        )
        made = session.run(list(outputs), {name: values[name] for name in inputs})
        values |= dict(zip(outputs, made, strict=True))
    return values


def _contents(encoder: int, classifier: int, target: str) -> dict[str, bytes]:
    files = {
        "features.lock": "".join(f"{name} {found}\n" for name, found in LOCK.items()).encode(),
        "LICENSE": b"Apache License, Version 2.0\n",
        "proof.json": pretty({"target": target, "verdict": "accept"}),
    }
    for integer in (False, True):
        ending = "int8.onnx" if integer else "onnx"
        files[f"stages/encoder.{ending}"] = _encoder(encoder, integer)
        files[f"stages/classifier.{ending}"] = _classifier(classifier, integer)
    given = rows(GOLDEN)
    values = chain(files, given)
    for name in ("features", "score", "flagged", "fault"):
        value = values[name].astype(np.int32) if name == "fault" else values[name]
        files[f"golden/{name}.npy"] = _npy(value)
    return files


def _body(
    files: Mapping[str, bytes],
    encoder: int,
    classifier: int,
    ensemble: str,
    target: str,
    release: str,
) -> dict[str, Any]:
    first = _record("encoder", files, {})
    last = _record("classifier", files, {"encoder.residual": first["digest"]})
    return {
        "format": "firnline-bundle/4",
        "kind": "device",
        "name": ensemble,
        "target": target,
        "release": release,
        "run": [
            {
                "stage": name,
                "graph": f"stages/{name}.int8.onnx",
                "inputs": list(inputs),
                "outputs": list(outputs),
            }
            for name, inputs, outputs in _STEPS
        ],
        "input": {"name": "features", "dtype": "float32", "columns": list(COLUMNS)},
        "outputs": ["encoder.residual", "classifier.fault_probability"],
        "decide": {
            "output": "classifier.fault_probability",
            "classes": list(CLASSES),
            "threshold": 0.5,
        },
        "stages": [first, last],
        "handshake": facts_document(_facts(ensemble, first["digest"], last["digest"])),
        "lock": LOCK,
        "artifact_sha256": digest([encoder, classifier]),
        "licences": {"*": "Apache-2.0"},
        "files": {name: bytes_digest(content) for name, content in files.items()},
        "bytes": {name: len(content) for name, content in files.items()},
    }


def _facts(ensemble: str, first: str, last: str) -> Facts:
    encoder = StageFacts(
        "encoder", LOCK, clock=_CLOCK, outputs={"residual": _RESIDUAL}, digest=first
    )
    classifier = StageFacts(
        "classifier",
        LOCK,
        clock=_CLOCK,
        upstream={"encoder.residual": _RESIDUAL},
        outputs={"fault_probability": _CHANCE},
        digest=last,
        learned_from={"encoder": first},
    )
    return Facts(ensemble, ("encoder", "classifier"), (encoder, classifier), LOCK, ("features",))


def _record(name: str, files: Mapping[str, bytes], upstream: Mapping[str, str]) -> dict[str, Any]:
    made_of: dict[str, Any] = {
        "name": name,
        "recipe": f"recipes:{name.title()}",
        "options": {},
        "features": LOCK,
        "upstream": dict(upstream),
        "training_set": "7" * 64,
    }
    onnx_sha256 = bytes_digest(files[f"stages/{name}.onnx"])
    return {**made_of, "onnx": onnx_sha256, "digest": stage_digest(**made_of, onnx=onnx_sha256)}


def _encoder(number: int, integer: bool) -> bytes:
    weights = np.eye(WIDTH, dtype=np.int8) * np.int8(64)
    weights[0, 1] = number
    nodes, constants, value = _layer("features", weights, integer)
    nodes.append(helper.make_node("Clip", [value, "low", "high"], ["encoder.residual"]))
    constants += [_constant("low", np.float32(-8)), _constant("high", np.float32(8))]
    return _graph(
        "encoder", nodes, constants, [("features", WIDTH)], [("encoder.residual", WIDTH, False)]
    )


def _classifier(number: int, integer: bool) -> bytes:
    weights = np.zeros((WIDTH, len(CLASSES)), np.int8)
    weights[:3] = np.eye(3) * 32
    weights[3, 0] = number
    nodes, constants, value = _layer("encoder.residual", weights, integer)
    chance = "classifier.fault_probability"
    # Hard sigmoids instead of a softmax: exact in float32, whatever the machine.
    nodes += [
        helper.make_node("HardSigmoid", [value], [chance], alpha=0.125, beta=0.5),
        helper.make_node("Gather", [chance, "first"], ["normal"], axis=1),
        helper.make_node("Sub", ["one", "normal"], ["score"]),
        helper.make_node("Greater", ["score", "threshold"], ["above"]),
        helper.make_node("Cast", ["above"], ["flagged"], to=TensorProto.FLOAT),
        helper.make_node("ArgMax", [chance], ["fault"], axis=1, keepdims=1),
    ]
    constants += [
        _constant("first", np.array([0], np.int64)),
        _constant("one", np.ones((1, 1), np.float32)),
        _constant("threshold", np.full((1, 1), 0.5, np.float32)),
    ]
    outputs = [(chance, 3, False), ("score", 1, False), ("flagged", 1, False), ("fault", 1, True)]
    return _graph("classifier", nodes, constants, [("encoder.residual", WIDTH)], outputs)


def _layer(value: str, weights: np.ndarray, integer: bool) -> tuple[list[Any], list[Any], str]:
    """A linear map by weights in sixty-fourths, its input quantised or in float."""
    if not integer:
        constants = [_constant("weights", weights.astype(np.float32) / 64)]
        return [helper.make_node("MatMul", [value, "weights"], ["sum"])], constants, "sum"
    constants = [
        _constant("scale", np.float32(1 / 16)),
        _constant("zero", np.int8(0)),
        _constant("weights_int8", weights),
        _constant("weights_scale", np.float32(1 / 64)),
    ]
    nodes = [
        helper.make_node("QuantizeLinear", [value, "scale", "zero"], ["int8"]),
        helper.make_node("DequantizeLinear", ["int8", "scale", "zero"], ["rounded"]),
        helper.make_node(
            "DequantizeLinear", ["weights_int8", "weights_scale", "zero"], ["weights"]
        ),
        helper.make_node("MatMul", ["rounded", "weights"], ["sum"]),
    ]
    return nodes, constants, "sum"


def _graph(
    name: str,
    nodes: list[Any],
    constants: list[Any],
    inputs: list[tuple[str, int]],
    outputs: list[tuple[str, int, bool]],
) -> bytes:
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info(at, TensorProto.FLOAT, ["rows", n]) for at, n in inputs],
        [
            helper.make_tensor_value_info(
                at, TensorProto.INT64 if whole else TensorProto.FLOAT, ["rows", n]
            )
            for at, n, whole in outputs
        ],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def _constant(name: str, value: Any) -> Any:
    return numpy_helper.from_array(np.asarray(value), name)


def _npy(value: np.ndarray) -> bytes:
    stream = BytesIO()
    np.save(stream, value, allow_pickle=False)
    return stream.getvalue()
