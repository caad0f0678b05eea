"""The report as one page: no script, nothing fetched, plots as SVG."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from edge.report.markdown import shown

_WIDTH, _BAR, _LABEL, _VALUE = 720, 22, 220, 90
_PLOTS = (
    ("weight_bytes", "Flash by layer, bytes of weights"),
    ("live_bytes", "Working memory by layer, bytes alive"),
    ("macs", "Multiply-accumulates by layer"),
    ("instructions", "Instructions by layer"),
    ("cycles", "NPU cycles by layer"),
)
_STYLE = """
:root { color-scheme: light dark; --ink: #1b2733; --quiet: #5d6b78; --bar: #2f7fb8; --line: #d7dee4;
  --ground: #ffffff; --good: #1d7a46; --bad: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --quiet: #9aa7b3; --bar: #5aa9e0;
  --line: #2c3843; --ground: #10161c; --good: #5cc98b; --bad: #ff8a80; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--ground);
  max-width: 46rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: .2rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
p, li { color: var(--quiet); } table { border-collapse: collapse; width: 100%; }
td, th { border-bottom: 1px solid var(--line); padding: .25rem .5rem; text-align: left; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
.accept { color: var(--good); } .reject { color: var(--bad); } code { overflow-wrap: anywhere; }
svg { width: 100%; height: auto; } svg text { font: 12px system-ui, sans-serif; fill: var(--ink); }
svg rect { fill: var(--bar); }
"""


def page(report: Mapping[str, Any]) -> str:
    """The report of one target as HTML."""
    verdict = str(report["verdict"])
    parts = [
        f"<h1>{escape(report['model'])} on {escape(report['target'])}</h1>",
        f"<p>{escape(report['about'])}. Proof: <strong class='{verdict.split()[0]}'>"
        f"{escape(verdict)}</strong>{_because(report['reasons'])}</p>",
        f"<p>Artifact sha256 <code>{escape(report['artifact_sha256'])}</code></p>",
        _pairs({name: report[name] for name in _HEAD}),
    ]
    for name, title in _PLOTS:
        parts.append(_bars(title, report["layers"], name))
    if report["budget"]:
        parts += ["<h2>Budget</h2>", _pairs({row["what"]: _of(row) for row in report["budget"]})]
    for title, name in (
        ("Accuracy", "accuracy"),
        ("Relative error against float", "fidelity"),
        ("Energy", "energy"),
        ("Everything", "figures"),
    ):
        if report[name]:
            parts += [f"<h2>{title}</h2>", _pairs(report[name])]
    for title, name in (("What would make it smaller", "advice"), ("Notes", "notes")):
        if report[name]:
            items = "".join(f"<li>{escape(item)}</li>" for item in report[name])
            parts += [f"<h2>{title}</h2>", f"<ul>{items}</ul>"]
    body = "\n".join(parts)
    title = escape(f"{report['model']} on {report['target']}")
    return (
        f"<!doctype html>\n<html lang='en'><head><meta charset='utf-8'><title>{title}</title>"
        f"<meta name='viewport' content='width=device-width'><style>{_STYLE}</style></head>"
        f"<body>\n{body}\n</body></html>\n"
    )


_HEAD = ("instructions", "flash_bytes", "ram_bytes", "macs", "vectors", "bytes_differ",
         "toolchain", "runner")  # fmt: skip


def _because(reasons: Sequence[str]) -> str:
    return f": {escape('; '.join(reasons))}" if reasons else ""


def _of(row: Mapping[str, Any]) -> str:
    share = 100 * row["taken"] / row["limit"]
    return f"{shown(row['taken'])} of {shown(row['limit'])}, {share:.0f} %"


def _pairs(values: Mapping[str, Any]) -> str:
    rows = "".join(
        f"<tr><th scope='row'>{escape(name.replace('_', ' '))}</th>"
        f"<td class='number'>{escape(shown(value))}</td></tr>"
        for name, value in values.items()
    )
    return f"<table>{rows}</table>"


def _bars(title: str, layers: Sequence[Mapping[str, Any]], name: str) -> str:
    """Horizontal bars, a layer each; empty when no layer has the figure."""
    rows = [(str(row["name"]), row[name]) for row in layers if row.get(name)]
    if not rows:
        return ""
    most = max(value for _, value in rows)
    room = _WIDTH - _LABEL - _VALUE
    bars = "".join(
        f"<text x='{_LABEL - 8}' y='{place * _BAR + 15}' text-anchor='end'>"
        f"{escape(_short(label))}<title>{escape(label)}</title></text>"
        f"<rect x='{_LABEL}' y='{place * _BAR + 4}' height='{_BAR - 8}' rx='2' "
        f"width='{max(1, round(room * value / most))}'></rect>"
        f"<text x='{_LABEL + max(1, round(room * value / most)) + 6}' y='{place * _BAR + 15}'>"
        f"{shown(value)}</text>"
        for place, (label, value) in enumerate(rows)
    )
    height = len(rows) * _BAR + 4
    return (
        f"<h2>{escape(title)}</h2><svg viewBox='0 0 {_WIDTH} {height}' role='img' "
        f"aria-label='{escape(title)}'>{bars}</svg>"
    )


def _short(label: str) -> str:
    return label if len(label) <= 30 else f"…{label[-29:]}"
