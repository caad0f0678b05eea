"""The report for people, in Markdown; and the table across targets."""

from collections.abc import Mapping, Sequence
from typing import Any

_COLUMNS = (
    ("target", "target"),
    ("verdict", "proof"),
    ("bytes_differ", "bytes that differ"),
    ("vectors", "windows"),
    ("instructions", "instructions"),
    ("flash_bytes", "flash, B"),
    ("ram_bytes", "RAM, B"),
    ("runner", "run by"),
)


def markdown(report: Mapping[str, Any]) -> str:
    """One target's report."""
    parts = [
        f"# {report['model']} on {report['target']}",
        f"{report['about']}. Proof: **{report['verdict']}**"
        + (f" ({'; '.join(report['reasons'])})" if report["reasons"] else "")
        + f". Artifact sha256 `{report['artifact_sha256']}`.",
        _table(("figure", "value"), [(name, shown(report[name])) for name in _FIGURES])
        + _rest(report),
    ]
    if report["budget"]:
        rows = [
            (row["what"], shown(row["taken"]), shown(row["limit"]),
             f"{100 * row['taken'] / row['limit']:.0f} %")
            for row in report["budget"]
        ]  # fmt: skip
        parts += ["## Budget", _table(("what", "taken", "limit", "share"), rows)]
    parts += ["## Layers", layer_table(report["layers"])]
    if report["accuracy"]:
        parts += ["## Accuracy", _table(("figure", "value"), _shown(report["accuracy"]))]
    if report["fidelity"]:
        errors = [(name, f"{error:.4f}") for name, error in report["fidelity"].items()]
        parts += ["## Relative error against float", _table(("output", "RMS error"), errors)]
    if report["energy"]:
        parts += ["## Energy", _table(("figure", "value"), _shown(report["energy"]))]
    if report["advice"]:
        parts += ["## What would make it smaller", _list(report["advice"])]
    if report["notes"]:
        parts += ["## Notes", _list(report["notes"])]
    return "\n\n".join(parts) + "\n"


def across(records: Sequence[Mapping[str, Any]]) -> str:
    """A table over targets, a row each.

    Args:
        records: As `edge.export.make.Built.document` makes them.
    """
    rows = [
        tuple(
            str(record["proof"]["verdict"]) if field == "verdict" else shown(record.get(field))
            for field, _ in _COLUMNS
        )
        for record in records
    ]
    return _table(tuple(title for _, title in _COLUMNS), rows) + "\n"


def layer_table(layers: Sequence[Mapping[str, Any]]) -> str:
    """A row a layer, with the columns that any layer has."""
    known = ("name", "kind", "macs", "weight_bytes", "live_bytes", "instructions", "cycles")
    names = [name for name in known if any(row.get(name) is not None for row in layers)]
    return _table(names, [tuple(shown(row.get(name)) for name in names) for row in layers])


def shown(value: object) -> str:
    """A value for people: thousands apart, a dash for what is unknown."""
    if value is None:
        return "-"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


_FIGURES = ("instructions", "macs", "flash_bytes", "ram_bytes", "vectors", "bytes_differ",
            "toolchain", "runner")  # fmt: skip


def _rest(report: Mapping[str, Any]) -> str:
    rest = {name: value for name, value in report["figures"].items() if name not in _FIGURES}
    return "".join(f"\n| {name} | {shown(value)} |" for name, value in rest.items())


def _shown(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(name, shown(value)) for name, value in values.items()]


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(_cell(text) for text in line) + " |" for line in lines)


def _cell(text: str) -> str:
    """Text that neither ends a cell nor its row."""
    return " ".join(text.split()).replace("|", "\\|")


def _list(items: Sequence[str]) -> str:
    return "\n".join(f"- {item}" for item in items)
