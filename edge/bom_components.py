"""What a BOM lists: the ensemble, its stages, the data, the tools, and every target's files."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import onnx

from edge.licences import of as licence_of
from edge.model_facts import entity, licence, limits, measures
from edge.pack import Contents
from edge.verify import MODEL, int8_file, stage_file
from firnline.contracts.spdx import UNSTATED
from firnline.digest import bytes_digest

Component = dict[str, Any]
_LICENCES = {
    "onnxruntime": "MIT",
    "qemu-system-arm": "GPL-2.0-only",
    "tosa-reference": "Apache-2.0",
    "unicorn": "GPL-2.0-only",
    "vela": "Apache-2.0",
    "zig": "MIT",
}
_PYPI = {
    "onnxruntime": "onnxruntime",
    "unicorn": "unicorn",
    "vela": "ethos-u-vela",
    "zig": "ziglang",
}
_RUNTIMES = ("onnxruntime",)
"""Tools that a device runs itself; of the others it runs what they made."""
_FAMILIES = (
    ("Conv", "convolutional neural network"),
    ("TreeEnsemble", "tree ensemble"),
    ("LSTM", "recurrent neural network"),
    ("GRU", "recurrent neural network"),
    ("Relu", "multilayer perceptron"),
    ("Gemm", "linear model"),
    ("MatMul", "linear model"),
)
"""An operator that a graph has -> its family; the first that is there holds."""


def ensemble(
    contents: Contents, params: Mapping[str, str], metrics: Mapping[str, float]
) -> Component:
    """The ensemble itself, with its model card."""
    model = bytes_digest(contents.files[MODEL])
    return {
        "type": "machine-learning-model",
        "bom-ref": f"ensemble/{contents.name}",
        "name": contents.name,
        # A model has no number that means more than what it is.
        "version": model[:12],
        "hashes": _sha256(model),
        **_licensed(licence(contents)),
        "modelCard": {
            "modelParameters": {
                **({"approach": {"type": "supervised"}} if contents.decide.get("classes") else {}),
                "task": "classification" if contents.decide.get("classes") else "anomaly detection",
                "architectureFamily": family(contents.files.get("float.onnx", b"")),
                "datasets": [{"ref": part["bom-ref"]} for part in data(contents)],
                "inputs": [{"format": f"float32[{len(contents.columns)}] features"}],
                "outputs": [{"format": name} for name in contents.outputs],
            },
            "quantitativeAnalysis": {"performanceMetrics": _metrics(contents, metrics)},
            "considerations": {
                "users": ["edge teams that run it on the devices of its release"],
                "useCases": [f"a score and a decision for each window of one {entity(contents)}"],
                "technicalLimitations": list(limits(contents, metrics)),
                **_tradeoffs(contents),
            },
        },
        "properties": _properties(
            {
                "manifest": contents.manifest_digest,
                "decide.output": contents.decide.get("output"),
                "decide.threshold": contents.decide.get("threshold"),
                "parity": contents.parity.get("verdict"),
                **{f"param.{name}": value for name, value in sorted(params.items())},
            }
        ),
    }


def stages(contents: Contents) -> list[Component]:
    """Every stage, with the digests of its graphs."""
    found = []
    for stage in contents.stages:
        names = (stage_file(stage.name), int8_file(stage.name))
        content = contents.files.get(names[0], b"")
        found.append(
            {
                "type": "machine-learning-model",
                "bom-ref": f"stage/{stage.name}",
                "name": f"{contents.name}.{stage.name}",
                "version": stage.digest[:12],
                "hashes": _sha256(stage.onnx_sha256),
                **_licensed(licence(contents)),
                "modelCard": {
                    "modelParameters": {
                        "architectureFamily": family(content),
                        "modelArchitecture": stage.recipe,
                    }
                },
                "components": list(_files(contents, names)),
                "properties": _properties({"digest": stage.digest, "recipe": stage.recipe}),
            }
        )
    return found


def data(contents: Contents) -> list[Component]:
    """The readings' snapshot, every feature version, and the training set."""
    readings = contents.snapshot.get("sha256")
    return [
        _data("readings", "raw readings", readings, {"dvc": contents.snapshot.get("dvc")}),
        *(
            _data(
                name,
                f"feature version {feature['label']}",
                feature.get("snapshot"),
                {"digest": feature["digest"]},
            )
            for name, feature in contents.features.items()
        ),
        _data("training-set", "rows that trained and tested", contents.training_set, {}),
    ]


def tools(contents: Contents) -> list[Component]:
    """What compiles a target or runs on it, and what the proofs were run by."""
    found: set[tuple[str, str]] = set()
    for record in contents.targets:
        ran = [part.rpartition(" ") for part in (record["runner"] or "").split(", ") if part]
        found |= {(name, made) for name, _, made in ran}
        found |= set(record["proof"]["toolchain"].items())
    return [_tool(name, made) for name, made in sorted(found)]


def targets(contents: Contents) -> list[Component]:
    """Every target's artifact: its files, and what was proved of them."""
    found = []
    for record in contents.targets:
        folder = f"targets/{record['target']}/"
        names = [
            name
            for name in sorted(contents.files)
            if name.startswith(folder) and not name.startswith(f"{folder}vectors/")
        ]
        model = f"{folder}model.onnx" in names
        found.append(
            {
                "type": "machine-learning-model" if model else "firmware",
                "bom-ref": f"target/{record['target']}",
                "name": f"{contents.name} for {record['target']}",
                "version": record["artifact_sha256"][:12],
                **_licensed(licence(contents)),
                "components": list(_files(contents, names)),
                "properties": _properties(
                    {
                        "artifact_sha256": record["artifact_sha256"],
                        "proof.verdict": record["proof"]["verdict"],
                        "proof.vectors": record["vectors"],
                        "proof.bytes_differ": record["bytes_differ"],
                        "flash_bytes": record["flash_bytes"],
                        "ram_bytes": record["ram_bytes"],
                    }
                ),
            }
        )
    return found


def family(content: bytes) -> str:
    """Family of a graph, by its operators.

    Args:
        content: ONNX bytes.
    """
    operators = {node.op_type for node in onnx.load_from_string(content).graph.node}
    return next(
        (family for part, family in _FAMILIES if any(part in found for found in operators)),
        "arithmetic",
    )


def _files(contents: Contents, names: Sequence[str]) -> Iterator[Component]:
    for name in names:
        if name in contents.files:
            licensed = licence_of(name, contents.licences)
            yield {
                "type": "file",
                "bom-ref": f"file/{name}",
                "name": name,
                "hashes": _sha256(bytes_digest(contents.files[name])),
                **_licensed(None if licensed == UNSTATED else licensed),
            }


def _tradeoffs(contents: Contents) -> dict[str, list[str]]:
    reason = contents.parity.get("reason")
    return {"performanceTradeoffs": [f"int8: {reason}"]} if reason else {}


def _metrics(contents: Contents, metrics: Mapping[str, float]) -> list[dict[str, str]]:
    """Figures of the run, sliced by class, then of int8 and of every target."""
    found = [
        {
            "type": one.kind,
            "value": repr(one.value),
            "slice": f"{one.part}, {one.label}" if one.label else one.part,
        }
        for one in measures(metrics)
    ]
    proved = {"int8, test": (contents.parity.get("numbers", {}), ("agreement", "auc_int8"))}
    for record in contents.targets:
        decided = record["proof"]["decisions"] or {}
        proved[record["target"]] = (decided, ("agreement", "auc_target"))
    found += [
        {"type": kind, "value": repr(numbers[kind]), "slice": part}
        for part, (numbers, kinds) in proved.items()
        for kind in kinds
        if numbers.get(kind) is not None
    ]
    return found


def _data(
    name: str, about: str, sha256: str | None, properties: Mapping[str, str | None]
) -> Component:
    return {
        "type": "data",
        "bom-ref": f"data/{name}",
        "name": name,
        **({"version": sha256[:12]} if sha256 else {}),
        "description": about,
        # Of a set of files: it is over their names and contents, as firnline.digest has it.
        **({"hashes": _sha256(sha256)} if sha256 else {}),
        "data": [{"type": "dataset", "name": name}],
        "properties": _properties(properties),
    }


def _tool(name: str, made: str) -> Component:
    package = _PYPI.get(name)
    return {
        "type": "framework" if name in _RUNTIMES else "application",
        "bom-ref": f"tool/{name}@{made}",
        "name": name,
        "version": made,
        "scope": "required" if name in _RUNTIMES else "excluded",
        **_licensed(_LICENCES.get(name)),
        **({"purl": f"pkg:pypi/{package}@{made}"} if package else {}),
    }


def _licensed(expression: str | None) -> dict[str, Any]:
    return {"licenses": [{"expression": expression}]} if expression else {}


def _sha256(value: str) -> list[dict[str, str]]:
    return [{"alg": "SHA-256", "content": value}]


def _properties(values: Mapping[str, Any]) -> list[dict[str, str]]:
    return [
        {"name": f"firnline:{name}", "value": str(value)}
        for name, value in values.items()
        if value is not None
    ]
