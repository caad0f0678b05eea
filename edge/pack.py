"""A bundle: one folder with an ensemble's models, its proof and a manifest naming every digest."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edge.chain import Link
from edge.folder import pretty, write
from edge.verify import FORMAT, MANIFEST, WHOLE, parse_manifest, safe, stage_file
from firnline.contracts.breach import refuse
from firnline.contracts.facts import document as facts_document
from firnline.contracts.handshake import Facts, check
from firnline.digest import bytes_digest, digest, tree_digest

TARGET_FIELDS = (
    "artifact_sha256",
    "toolchain",
    "runner",
    "instructions",
    "macs",
    "flash_bytes",
    "ram_bytes",
    "vectors",
    "bytes_differ",
)
"""Of a target's record, what bundle.json repeats."""


@dataclass(frozen=True)
class StageRecord:
    """One stage as the bundle names it.

    Attributes:
        name: The stage's name.
        recipe: `package.module:Class`.
        digest: Digest of the stage as a feature producer.
        onnx_sha256: Of the stage's own float graph.
        options: Keywords of its recipe.
        features: Reference -> digest of the versions it reads.
        upstream: `stage.output` -> digest of the stage it learned from.
        training_set: sha256 of the training set it was fitted on.
    """

    name: str
    recipe: str
    digest: str
    onnx_sha256: str
    options: Mapping[str, Any]
    features: Mapping[str, str]
    upstream: Mapping[str, str]
    training_set: str


@dataclass(frozen=True)
class Contents:
    """What goes into a bundle.

    Attributes:
        name: The ensemble.
        manifest_digest: Of ensemble.toml's meaning.
        snapshot: `sha256` and `dvc` (md5) of the raw readings.
        features: Feature view -> `label` and `digest`.
        training_set: sha256 of the training set.
        stages: In manifest order.
        columns: Names of the input's columns, in order.
        outputs: Names of the outputs, in order.
        decide: `output`, `classes`, `threshold`.
        parity: Decision document of the parity gate.
        calibration: `rows` and `note` of the calibration set.
        facts: What the handshake is told of the ensemble.
        targets: A record a target, as `edge.export.make.Built.document` makes it.
        files: Name in the bundle -> its bytes, bundle.json aside.
        licences: Place in the bundle, as a pattern -> SPDX expression.
        run: The graphs that a general processor runs, in order.
        run_note: Why these are not a graph a stage; empty where they are.
    """

    name: str
    manifest_digest: str
    snapshot: Mapping[str, str]
    features: Mapping[str, Mapping[str, str]]
    training_set: str
    stages: Sequence[StageRecord]
    columns: Sequence[str]
    outputs: Sequence[str]
    decide: Mapping[str, Any]
    parity: Mapping[str, Any]
    calibration: Mapping[str, Any]
    facts: Facts
    files: Mapping[str, bytes]
    targets: Sequence[Mapping[str, Any]] = ()
    licences: Mapping[str, str] = field(default_factory=lambda: {"*": "Apache-2.0"})
    run: Sequence[Link] = ()
    run_note: str = ""


def pack(out: Path, contents: Contents) -> str:
    """Write a bundle folder whole or not at all.

    The same contents give the same bytes: nothing in a bundle tells when or where it was made.

    Args:
        out: Folder to make; one that is there is replaced once the new one is whole.
        contents: What goes in.

    Returns:
        The bundle's digest: sha256 over the names and sha256s of all its files.

    Raises:
        HandshakeError: H1 to H8, when the stages do not belong together; nothing is written.
        DeliveryError: D1 or D5, the manifest or a name is none that could be read again.
    """
    present = {stage.name for stage in contents.stages if stage_file(stage.name) in contents.files}
    stages = tuple(stage for stage in contents.facts.stages if stage.name in present)
    refuse(check(replace(contents.facts, stages=stages)), f"bundling {contents.name}")
    files = {str(safe(name)): content for name, content in contents.files.items()}
    write(out, {**files, MANIFEST: sealed({**_body(contents), **inventory(files)})})
    return tree_digest(out)


def inventory(files: Mapping[str, bytes]) -> dict[str, Any]:
    """What a manifest says of files: `files`, name -> sha256, and `bytes`, name -> length."""
    return {
        "files": {name: bytes_digest(content) for name, content in files.items()},
        "bytes": {name: len(content) for name, content in files.items()},
    }


def sealed(body: Mapping[str, Any]) -> bytes:
    """A manifest's bytes, with the digest over all its fields.

    Raises:
        DeliveryError: D1, it is none that could be read again.
    """
    content = pretty({**body, "digest": digest(dict(body))})
    parse_manifest(content, "the bundle that is being made")
    return content


def _body(contents: Contents) -> dict[str, Any]:
    calibration = contents.files.get("calibration.npy")
    return {
        "format": FORMAT,
        "kind": WHOLE,
        "name": contents.name,
        "manifest": contents.manifest_digest,
        "snapshot": dict(contents.snapshot),
        "features": {name: dict(feature) for name, feature in contents.features.items()},
        "training_set": contents.training_set,
        "stages": [
            {
                "name": stage.name,
                "recipe": stage.recipe,
                "digest": stage.digest,
                "onnx": stage.onnx_sha256,
                "options": dict(stage.options),
                "features": dict(stage.features),
                "upstream": dict(stage.upstream),
                "training_set": stage.training_set,
            }
            for stage in contents.stages
        ],
        "input": {"name": "features", "dtype": "float32", "columns": list(contents.columns)},
        "outputs": list(contents.outputs),
        "decide": dict(contents.decide),
        "parity": dict(contents.parity),
        "calibration": {
            **contents.calibration,
            "sha256": None if calibration is None else bytes_digest(calibration),
        },
        "lock": {name: feature["digest"] for name, feature in contents.features.items()},
        "targets": {record["target"]: _target(record) for record in contents.targets},
        "handshake": facts_document(contents.facts),
        "licences": dict(contents.licences),
        "run": [link.document() for link in contents.run],
        "run_note": contents.run_note,
    }


def _target(record: Mapping[str, Any]) -> dict[str, Any]:
    """What the manifest tells of a target; the whole proof lies in its folder.

    Times are left out: a bundle tells nothing that differs from one making to the next.
    """
    return {
        **{name: record[name] for name in TARGET_FIELDS},
        "verdict": record["proof"]["verdict"],
        "proof": f"targets/{record['target']}/proof.json",
    }
