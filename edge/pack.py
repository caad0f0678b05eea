"""A bundle: one folder with an ensemble's models, its proof and a manifest naming every digest."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from edge.folder import pretty, write
from firnline.contracts.breach import refuse
from firnline.contracts.facts import document as facts_document
from firnline.contracts.handshake import Facts, check
from firnline.digest import bytes_digest, digest, file_digest, tree_digest, tree_manifest
from firnline.errors import DeliveryError

FORMAT = "firnline-bundle/3"
MANIFEST = "bundle.json"
MODEL = "int8.onnx"
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
    """
    present = {stage.name for stage in contents.stages if stage_file(stage.name) in contents.files}
    stages = tuple(stage for stage in contents.facts.stages if stage.name in present)
    refuse(check(replace(contents.facts, stages=stages)), f"bundling {contents.name}")
    files = {str(_safe(name)): content for name, content in contents.files.items()}
    digests = {name: bytes_digest(content) for name, content in files.items()}
    write(out, {**files, MANIFEST: pretty(_document(contents, digests))})
    return tree_digest(out)


def verify(bundle: Path, expected: str | None = None) -> dict[str, Any]:
    """Hash every file of a bundle again and hold it to its manifest.

    Args:
        bundle: The folder.
        expected: Digest that the bundle must have, where it is known from elsewhere. Without
            it, a bundle forged as a whole is not noticed; signatures are there for that.

    Returns:
        The manifest.

    Raises:
        DeliveryError: D1 no readable manifest, D2 files differ, D3 files are missing, D4 files
            are too many, D5 a path or a link leaves the folder, D6 the manifest was altered, D7
            an unknown format, D8 another bundle than expected.
    """
    document = read_manifest(bundle)
    files = document["files"]
    for name in files:
        _safe(name)
    links = sorted(
        str(path.relative_to(bundle))
        for path in bundle.rglob("*")
        if path.is_symlink() or not (path.is_file() or path.is_dir())
    )
    if links:
        raise _broken("D5", bundle, f"not plain files: {', '.join(links)}")
    found = set(tree_manifest(bundle)) - {MANIFEST}
    for code, problem, names in (
        ("D3", "missing", set(files) - found),
        ("D4", "not in the manifest", found - set(files)),
        (
            "D2",
            "differ from their digest",
            {name for name in found & set(files) if file_digest(bundle / name) != files[name]},
        ),
    ):
        if names:
            raise _broken(code, bundle, f"{problem}: {', '.join(sorted(names))}")
    if expected is not None and tree_digest(bundle) != expected:
        raise _broken("D8", bundle, f"digest {tree_digest(bundle)}, not {expected}")
    return document


def _document(contents: Contents, files: Mapping[str, str]) -> dict[str, Any]:
    body = {
        "format": FORMAT,
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
        "calibration": {**contents.calibration, "sha256": files.get("calibration.npy")},
        "lock": {name: feature["digest"] for name, feature in contents.features.items()},
        "targets": {record["target"]: _target(record) for record in contents.targets},
        "handshake": facts_document(contents.facts),
        "licences": dict(contents.licences),
        "files": dict(files),
    }
    return {**body, "digest": digest(body)}


def _target(record: Mapping[str, Any]) -> dict[str, Any]:
    """What the manifest tells of a target; the whole proof lies in its folder.

    Times are left out: a bundle tells nothing that differs from one making to the next.
    """
    return {
        **{name: record[name] for name in TARGET_FIELDS},
        "verdict": record["proof"]["verdict"],
        "proof": f"targets/{record['target']}/proof.json",
    }


def stage_file(name: str) -> str:
    """Where a stage's own graph lies in a bundle.

    Raises:
        DeliveryError: D5, the name would leave the folder.
    """
    return str(_safe(f"stages/{name}.onnx"))


def read_manifest(bundle: Path) -> dict[str, Any]:
    """What bundle.json holds, once it has the digest it names; files are not looked at.

    Raises:
        DeliveryError: D1, D5, D6 or D7.
    """
    path = bundle / MANIFEST
    if bundle.is_symlink() or path.is_symlink():
        raise _broken("D5", bundle, "the bundle or its manifest is a link")
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        files = document["files"]
        if not all(isinstance(item, str) for pair in files.items() for item in pair):
            raise TypeError("files must map names to digests")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _broken("D1", bundle, f"no readable {MANIFEST}: {error}") from error
    if document.get("format") != FORMAT:
        raise _broken(
            "D7",
            bundle,
            f"format {document.get('format')!r}, not {FORMAT!r}",
            "build it again with `firnline run`, or read it with the firnline that made it",
        )
    body = {name: value for name, value in document.items() if name != "digest"}
    if document.get("digest") != digest(body):
        raise _broken("D6", bundle, f"{MANIFEST} does not have the digest it names")
    return dict(document)


def _safe(name: str) -> PurePosixPath:
    """The name as a path inside the bundle."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or str(path) != name:
        raise DeliveryError(
            "D5",
            found=f"the name {name!r} leaves the bundle or is not in its plain form",
            where="a bundle's files",
            mend="name files inside the bundle, such as int8.onnx",
        )
    return path


def _broken(
    code: str,
    bundle: Path,
    found: str,
    mend: str = "fetch the bundle again, or build it again with `firnline run`",
) -> DeliveryError:
    return DeliveryError(code, found=found, where=str(bundle), mend=mend)
