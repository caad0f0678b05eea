"""The bill of materials: a CycloneDX 1.6 ML-BOM (ECMA-424) of what a bundle is made of.

It tells nothing of when or where it was made, and its serial number follows from its contents, so
the same bundle has the same BOM to the byte.
"""

import json
import uuid
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from edge.bom_components import data, ensemble, stages, targets, tools
from edge.folder import pretty
from edge.pack import Contents
from firnline.digest import digest
from firnline.errors import EvidenceError

FILE = "bom.cdx.json"
_SCHEMA = "http://cyclonedx.org/schema/bom-1.6.schema.json"


def bom(
    contents: Contents,
    params: Mapping[str, str] | None = None,
    metrics: Mapping[str, float] | None = None,
) -> bytes:
    """The BOM of a bundle, valid by the schema's strict rules.

    Args:
        contents: What goes into the bundle, the BOM aside.
        params: Settings of the training run.
        metrics: Its figures.

    Raises:
        EvidenceError: E90, it is not valid; the text names the place in the document.
    """
    root = ensemble(contents, params or {}, metrics or {})
    made_of = (stages(contents), data(contents), tools(contents), targets(contents))
    components = [part for parts in made_of for part in parts]
    needed = [part["bom-ref"] for part in (*made_of[0], *made_of[3])]
    body = {
        "$schema": _SCHEMA,
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "lifecycles": [{"phase": "build"}],
            "component": root,
            "tools": {
                "components": [
                    {"type": "application", "name": "firnline", "version": version("firnline")}
                ]
            },
        },
        "components": components,
        "dependencies": _dependencies(contents, root["bom-ref"], needed),
    }
    content = pretty({**body, "serialNumber": f"urn:uuid:{_serial(body)}"})
    validate(content)
    return content


def validate(content: bytes) -> None:
    """Hold a BOM to the schema, strictly: a field that it does not know is refused.

    Raises:
        EvidenceError: E90, with the place and the problem.
    """
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    found = JsonStrictValidator(SchemaVersion.V1_6).validate_str(content.decode())
    if found is None:
        return
    where = ".".join(str(part) for part in getattr(found.data, "absolute_path", ())) or "its root"
    raise EvidenceError(
        "E90",
        found=str(getattr(found.data, "message", found))[:300],
        where=f"{FILE}, at {where}",
        mend="mend the name, licence or figure that it names in ensemble.toml, then run again",
    )


def _serial(body: Mapping[str, Any]) -> uuid.UUID:
    """A name-based UUID (RFC 9562, section 5.5) of the contents."""
    return uuid.uuid5(uuid.NAMESPACE_URL, f"urn:firnline:bom:{digest(json.loads(pretty(body)))}")


def _dependencies(contents: Contents, root: str, needed: list[str]) -> list[dict[str, Any]]:
    """Who is made of what: the ensemble of stages and targets, a stage of data and upstream."""
    found: dict[str, set[str]] = {root: set(needed)}
    for stage in contents.stages:
        upstream = {f"stage/{name.partition('.')[0]}" for name in stage.upstream}
        features = {f"data/{name}" for name in stage.features if name in contents.features}
        found[f"stage/{stage.name}"] = upstream | features | {"data/training-set"}
    found["data/training-set"] = {f"data/{name}" for name in contents.features}
    found |= {f"data/{name}": {"data/readings"} for name in contents.features}
    found["data/readings"] = set()
    for record in contents.targets:
        proof = record["proof"]
        used = {f"tool/{name}@{made}" for name, made in proof["toolchain"].items()}
        found[f"target/{record['target']}"] = used | {f"stage/{s.name}" for s in contents.stages}
    return [{"ref": ref, "dependsOn": sorted(on)} for ref, on in sorted(found.items())]
