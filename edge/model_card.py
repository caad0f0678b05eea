"""The model card: for whom a model is, what it was made of, how good it is, and what it is not.

Sections follow Mitchell et al., "Model Cards for Model Reporting" (FAT* 2019); the head is what
model hubs read. All of it comes from the training run's figures and the proofs, and tells nothing
of when or in which run it was made.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from edge.bom_components import family
from edge.model_facts import (
    PARTS,
    WEAK_AUC,
    Measure,
    entity,
    licence,
    limits,
    measures,
    window,
)
from edge.pack import Contents
from edge.report.markdown import across
from edge.verify import MODEL
from firnline.digest import bytes_digest, short

FILE = "MODEL_CARD.md"
_DIVIDED = {
    "time-and-entity": "Held-out windows are later ones of units that it was not trained on; "
    "later windows are those of units that it was.",
    "first-rows": "Held-out windows come after those that it was trained on, of the same units.",
}
"""How a split divides windows: what a figure is of."""


def card(
    contents: Contents,
    params: Mapping[str, str] | None = None,
    metrics: Mapping[str, float] | None = None,
) -> bytes:
    """The model card of a bundle, as Markdown with a YAML head.

    Args:
        contents: What goes into the bundle.
        params: Settings of the training run.
        metrics: Its figures.
    """
    figures = metrics or {}
    found = measures(figures)
    parts = [
        f"---\n{yaml.safe_dump(_head(contents, found), sort_keys=False, allow_unicode=True)}---",
        f"# {contents.name}",
        _purpose(contents),
        "## What it is not for",
        _list(limits(contents, figures)),
        "## What it takes",
        _input(contents),
        "## Stages",
        _stages(contents),
        "## How good it is",
        _figures(found, figures, params or {}),
        *_classes(found),
        "## What int8 costs",
        _int8(contents),
        "## Targets",
        across(contents.targets).strip() if contents.targets else "None.",
        "## Data",
        _data(contents),
        *_settings(params or {}),
        "## Licence",
        _licence(contents),
        "## To verify it",
        _verify(contents),
    ]
    return ("\n\n".join(parts) + "\n").encode()


def _head(contents: Contents, found: Sequence[Measure]) -> dict[str, Any]:
    task = "tabular-classification"
    snapshot = contents.snapshot.get("sha256")
    metrics = [
        {"type": one.kind, "name": f"{one.title}, {PARTS[one.part]}", "value": round(one.value, 6)}
        for one in found
        if not one.label
    ]
    dataset = {"name": contents.name, "type": contents.name, "revision": snapshot}
    results = [{"task": {"type": task}, "dataset": dataset, "metrics": metrics}]
    return {
        **_named(licence(contents)),
        "library_name": "onnx",
        "pipeline_tag": task,
        "tags": ["firnline", "int8", "edge", *(record["target"] for record in contents.targets)],
        "model-index": [{"name": contents.name, "results": results if metrics else []}],
    }


def _named(expression: str | None) -> dict[str, str]:
    """A licence as hubs name it: one identifier, or `other` and its name."""
    if expression is None:
        return {"license": "unknown"}
    if " " in expression or expression.startswith("LicenseRef-"):
        return {"license": "other", "license_name": expression}
    return {"license": expression.lower()}


def _purpose(contents: Contents) -> str:
    classes = contents.decide.get("classes", ())
    told = (
        f"For each {window(contents)} of one {entity(contents)} it takes "
        f"{len(contents.columns)} features and gives a `score`, whether it is "
        f"`flagged` (the score lies above {contents.decide.get('threshold', 0):.6g})"
    )
    if classes:
        told += f" and `fault`, the most probable of {len(classes)} classes: {', '.join(classes)}"
    return (
        f"{told}. Scaling, missing values and the decision are inside the graph, so that a device "
        "hands over features and nothing else. It is meant to point a person to a unit that needs "
        "a look; it is no safety function."
    )


def _input(contents: Contents) -> str:
    views: dict[str, list[str]] = {}
    for column in contents.columns:
        view, _, feature = column.partition("__")
        views.setdefault(view, []).append(f"`{feature}`")
    rows = [(view, str(len(names)), ", ".join(names)) for view, names in views.items()]
    return (
        f"One row is float32 [{len(contents.columns)}], NaN where there is no value; "
        "`input.columns` of `bundle.json` has its order.\n\n"
        f"{_table(('view', 'features', 'names'), rows)}"
    )


def _stages(contents: Contents) -> str:
    rows = [
        (
            stage.name,
            family(contents.files.get(f"stages/{stage.name}.onnx", b"")),
            f"`{stage.recipe}`",
            ", ".join(stage.upstream) or "features alone",
            f"`{short(stage.digest)}`",
        )
        for stage in contents.stages
    ]
    return _table(("stage", "kind", "recipe", "reads", "digest"), rows)


def _figures(
    found: Sequence[Measure], metrics: Mapping[str, float], params: Mapping[str, str]
) -> str:
    rows = [(one.title, PARTS[one.part], one.shown) for one in found if not one.label]
    if not rows:
        return "The run has no labelled windows."
    for part, title in PARTS.items():
        count, faulty = metrics.get(f"{part}.rows"), metrics.get(f"{part}.faulty")
        if count and faulty is not None:
            rows.append(("windows", title, f"{count:,.0f}, {faulty:,.0f} of them with a fault"))
    table = _table(("figure", "on", "value"), rows)
    told = _DIVIDED.get(params.get("split.kind", ""))
    return f"{told}\n\n{table}" if told else table


def _classes(found: Sequence[Measure]) -> list[str]:
    labels = sorted({one.label for one in found if one.label})
    if not labels:
        return []
    known = {(one.label, one.part): one for one in found}
    rows = []
    for label in labels:
        cells = [known.get((label, part)) for part in PARTS]
        rows.append((label, *("" if one is None else _area(one) for one in cells)))
    head = ("fault", *(f"AUC, {title}" for title in PARTS.values()))
    note = f"Each fault against normal; bold where it is below {WEAK_AUC:g}."
    return ["### By fault", note, _table(head, rows)]


def _area(one: Measure) -> str:
    return f"**{one.shown}**" if one.value < WEAK_AUC else one.shown


def _int8(contents: Contents) -> str:
    numbers = contents.parity.get("numbers", {})
    told = f"{contents.parity.get('reason', 'It was not compared')}."
    if numbers.get("auc_float") is not None and numbers.get("auc_int8") is not None:
        told += f" AUC {numbers['auc_float']:.4f} in float, {numbers['auc_int8']:.4f} in int8."
    if contents.run_note:
        told += f" It runs as one graph: {contents.run_note}."
    return told


def _data(contents: Contents) -> str:
    rows = [("readings", f"`{contents.snapshot.get('sha256', '')}`")]
    if contents.snapshot.get("dvc"):
        rows.append(("readings, as DVC names them", f"`{contents.snapshot['dvc']}`"))
    rows += [(name, f"`{found['digest']}`") for name, found in contents.features.items()]
    rows.append(("training set", f"`{contents.training_set}`"))
    return _table(("what", "sha256"), rows)


def _settings(params: Mapping[str, str]) -> list[str]:
    rows = [(name, value) for name, value in sorted(params.items())]
    return ["## Settings", _table(("setting", "value"), rows)] if rows else []


def _licence(contents: Contents) -> str:
    own = licence(contents)
    model = (
        f"The models: {own}."
        if own
        else "Nobody has stated one for the models: `license` in `[ensemble]` does."
    )
    return f"{model} The kernels in a target's C project: Apache-2.0, see LICENSE."


def _verify(contents: Contents) -> str:
    model = bytes_digest(contents.files[MODEL])
    return (
        f"`int8.onnx` has sha256 `{model}`; `bundle.json` names every file's. "
        "`firnline handshake FOLDER` hashes them again and holds stages and features to each "
        "other; `firnline-agent verify` does the same on a device. Each target's `proof.json` "
        "says what was run, on how many windows, and how many bytes differed from the integer "
        "reference."
    )


def _list(items: Sequence[str]) -> str:
    return "\n".join(f"- {item}" for item in items)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
