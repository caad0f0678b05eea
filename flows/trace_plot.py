"""The picture of a trace, as SVG written by hand: the same trace gives the same bytes."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape

from flows.steps import Document
from flows.trace_summary import told

_WIDTH, _LABELS, _GAP, _LINE = 1040, 250, 26, 22
_MATCHED, _MIXED, _OTHER, _GRID, _TEXT = "#0b5394", "#c0392b", "#d98c00", "#d9d9d9", "#222222"
_PANEL = 150
_WIDE = 4 * _PANEL + 3 * _GAP
_TICKS = 4

_FIGURES: tuple[tuple[str, Callable[[Document], float | None]], ...] = (
    ("AUC", lambda pair: pair["auc"]),
    ("decisions changed, %", lambda pair: 100 * (1 - pair["agreement"])),
    ("false alarms, %", lambda pair: pair["far"]),
    ("missed faults, %", lambda pair: pair["mar"]),
)


@dataclass(frozen=True)
class _Axis:
    """A horizontal axis: from values to places on the page.

    Attributes:
        left: Where it begins.
        width: How long it is.
        low: Value at its beginning.
        high: Value at its end.
    """

    left: float
    width: float
    low: float
    high: float

    @classmethod
    def over(cls, left: float, width: float, values: Iterable[float]) -> "_Axis":
        """An axis that holds all values, with some room; never of no length."""
        found = list(values)
        low, high = min(found, default=0.0), max(found, default=1.0)
        room = 0.06 * (high - low) or 0.5
        return cls(left, width, low - room, high + room)

    def at(self, value: float) -> float:
        """Where a value lies."""
        return self.left + self.width * (value - self.low) / (self.high - self.low)

    def frame(self, top: float, bottom: float) -> list[str]:
        """Ticks with their values below, and lines across."""
        parts = []
        span = self.high - self.low
        digits = 0 if span >= 20 else 1 if span >= 2 else 2 if span >= 0.2 else 3
        for number in range(_TICKS):
            value = self.low + span * (number + 0.5) / _TICKS
            place = self.at(value)
            parts += [
                f'<path d="M{place:.1f} {top:.1f}V{bottom:.1f}" stroke="{_GRID}"/>',
                _text(place, bottom + 13, f"{value:.{digits}f}", anchor="middle", size=10),
            ]
        return parts


def plot(document: Document) -> str:
    """Draw a trace: a block a retraining with a row a pair, then the change of AUC by fault.

    A dot is one draw of the earlier version, a bar their mean.

    Args:
        document: As `flows.trace` makes it, with `stage`, `summary` and `draws`.
    """
    parts = [
        _text(16, 28, f"{document['ensemble']}: {document['stage']} v1 and v2, beside stages "
                      "trained on v1 and on v2", size=16, weight="bold"),
    ]  # fmt: skip
    top = 44.0
    for retraining in dict.fromkeys(draw["retraining"] for draw in document["draws"]):
        draws = [draw for draw in document["draws"] if draw["retraining"] == retraining]
        parts.append(_text(16, top + 18, told(document, retraining), size=12))
        drawn, top = _pairs(document, draws, top + 46)
        parts += drawn
        drawn, top = _faults(draws, top + 14)
        parts += drawn
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {top:.0f}" '
        f'font-family="system-ui, sans-serif" role="img">'
        f"<title>Trace of {escape(document['ensemble'])}</title>"
        f'<rect width="{_WIDTH}" height="{top:.0f}" fill="#ffffff"/>\n{body}\n</svg>\n'
    )


def _pairs(document: Document, draws: Sequence[Document], top: float) -> tuple[list[str], float]:
    """One row a pair, one panel a figure; and where the block ends."""
    rows = list(zip(*(draw["pairs"] for draw in draws), strict=True))
    bottom = top + _LINE * len(rows)
    parts: list[str] = []
    for number, (heading, figure) in enumerate(_FIGURES):
        left = _LABELS + number * (_PANEL + _GAP)
        values = [[found for pair in row if (found := figure(pair)) is not None] for row in rows]
        axis = _Axis.over(left, _PANEL, (value for row in values for value in row))
        parts.append(_text(left, top - 8, heading, size=11, weight="bold"))
        parts += axis.frame(top, bottom)
        for place, (row, known) in enumerate(zip(rows, values, strict=True)):
            parts += _dots(axis, top + _LINE * (place + 0.5), known, _colour(row[0]))
    for place, row in enumerate(rows):
        pair, height = row[0], top + _LINE * (place + 0.5) + 4
        name = f"{document['stage']} v{pair['upstream']}, rest trained on v{pair['downstream']}"
        parts.append(_text(16, height, name, fill=_colour(pair)))
        parts.append(_text(_LABELS + _WIDE + 16, height, pair["handshake"], fill=_colour(pair)))
    parts.append(_text(_LABELS + _WIDE + 16, top - 8, "handshake", size=11, weight="bold"))
    return parts, bottom + 30


def _faults(draws: Sequence[Document], top: float) -> tuple[list[str], float]:
    """Change of AUC of each fault in the mixed pairs; nothing for a score without classes."""
    mixed = [number for number, pair in enumerate(draws[0]["pairs"]) if not pair["matched"]]
    changes = {number: [_changes(draw["pairs"], number) for draw in draws] for number in mixed}
    names = sorted({name for found in changes.values() for one in found for name in one})
    if not names:
        return [], top
    axis = _Axis.over(
        _LABELS, _WIDE, (x for found in changes.values() for one in found for x in one.values())
    )
    bottom = top + 14 + _LINE * len(names)
    parts = [
        _text(_LABELS, top + 6, "AUC of a fault, less that of the matched pair", size=11,
              weight="bold"),
        *axis.frame(top + 14, bottom),
        f'<path d="M{axis.at(0):.1f} {top + 14:.1f}V{bottom:.1f}" stroke="{_TEXT}"/>',
    ]  # fmt: skip
    for place, (number, found) in enumerate(changes.items()):
        pair, colour = draws[0]["pairs"][number], (_MIXED, _OTHER)[place]
        name = f"v{pair['upstream']}, rest trained on v{pair['downstream']}"
        parts.append(_text(_LABELS + 330 + 190 * place, top + 6, f"● {name}", size=11, fill=colour))
        for row, fault in enumerate(names):
            height = top + 14 + _LINE * (row + 0.5) + 8 * (place - 0.5)
            parts += _dots(axis, height, [one[fault] for one in found if fault in one], colour)
    for row, fault in enumerate(names):
        parts.append(_text(16, top + 14 + _LINE * (row + 0.5) + 4, fault))
    return parts, bottom + 36


def _changes(pairs: Sequence[Document], number: int) -> dict[str, float]:
    """AUC by fault of a pair less that of the pair its downstream stages learned in."""
    mine = pairs[number]
    match = next(p for p in pairs if p["matched"] and p["downstream"] == mine["downstream"])
    return {
        name: area - match["by_class"][name]
        for name, area in mine["by_class"].items()
        if name in match["by_class"]
    }


def _dots(axis: _Axis, height: float, values: Sequence[float], colour: str) -> list[str]:
    """A dot a value, and a bar at their mean."""
    if not values:
        return []
    mean = axis.at(sum(values) / len(values))
    return [
        f'<path d="M{mean:.1f} {height - 7:.1f}v14" stroke="{colour}" stroke-width="2.5"/>',
        *(
            f'<circle cx="{axis.at(value):.1f}" cy="{height:.1f}" r="3.5" fill="{colour}" '
            'fill-opacity="0.45"/>'
            for value in values
        ),
    ]


def _colour(pair: Document) -> str:
    return _MATCHED if pair["matched"] else _MIXED


def _text(
    x: float, y: float, text: str, *, size: int = 12, anchor: str = "start", weight: str = "normal",
    fill: str = _TEXT,
) -> str:  # fmt: skip
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" '
        f'font-weight="{weight}" fill="{fill}">{escape(text)}</text>'
    )
