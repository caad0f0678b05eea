"""The picture of a trace, as SVG written by hand: the same trace gives the same bytes."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape

from flows.steps import Document
from flows.trace_summary import named, told

_WIDTH, _LABELS, _GAP, _LINE = 1040, 250, 26, 22
_MATCHED, _NEWER, _OLDER, _GRID, _TEXT = "#0b5394", "#c0392b", "#d98c00", "#d9d9d9", "#222222"
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
        """Lines at round values, which stand below."""
        rough = (self.high - self.low) / _TICKS
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * part for part in (1, 2, 5, 10) if power * part >= rough)
        digits = max(0, -math.floor(math.log10(step)))
        parts = []
        for number in range(math.ceil(self.low / step), math.floor(self.high / step) + 1):
            place = self.at(number * step)
            parts += [
                f'<path d="M{place:.1f} {top:.1f}V{bottom:.1f}" stroke="{_GRID}"/>',
                _text(place, bottom + 13, f"{number * step:.{digits}f}", anchor="middle", size=10),
            ]
        return parts


def plot(document: Document) -> str:
    """Draw a trace: a block a retraining with a row a pair, then the change of AUC by fault.

    A dot is one draw of the earlier version, a bar their mean.

    Args:
        document: As `flows.trace` makes it, with `stage`, `summary` and `draws`.
    """
    parts = [
        _text(16, 28, f"{document['ensemble']}: two versions of {document['stage']}, beside stages "
                      "that learned from each", size=16, weight="bold"),
    ]  # fmt: skip
    top = 44.0
    axes, wide = _axes(document["draws"])
    for retraining in dict.fromkeys(draw["retraining"] for draw in document["draws"]):
        draws = [draw for draw in document["draws"] if draw["retraining"] == retraining]
        parts.append(_text(16, top + 18, told(document, retraining), size=12))
        drawn, top = _pairs(document, draws, axes, top + 46)
        parts += drawn
        drawn, top = _faults(document, draws, wide, top + 14)
        parts += drawn
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {top:.0f}" '
        f'font-family="system-ui, sans-serif" role="img">'
        f"<title>Trace of {escape(document['ensemble'])}</title>"
        f'<rect width="{_WIDTH}" height="{top:.0f}" fill="#ffffff"/>\n{body}\n</svg>\n'
    )


def _axes(draws: Sequence[Document]) -> tuple[list[_Axis], _Axis]:
    """An axis a figure, and that of the faults: the same in every block, so blocks compare."""
    pairs = [pair for draw in draws for pair in draw["pairs"]]
    axes = [
        _Axis.over(_LABELS + number * (_PANEL + _GAP), _PANEL, _known(figure, pairs))
        for number, (_, figure) in enumerate(_FIGURES)
    ]
    changes = [
        change
        for draw in draws
        for number in range(len(draw["pairs"]))
        for change in _changes(draw["pairs"], number).values()
    ]
    return axes, _Axis.over(_LABELS, _WIDE, changes)


def _known(figure: Callable[[Document], float | None], pairs: Sequence[Document]) -> list[float]:
    return [found for pair in pairs if (found := figure(pair)) is not None]


def _pairs(
    document: Document, draws: Sequence[Document], axes: Sequence[_Axis], top: float
) -> tuple[list[str], float]:
    """One row a pair, one panel a figure; and where the block ends."""
    rows = list(zip(*(draw["pairs"] for draw in draws), strict=True))
    bottom = top + _LINE * len(rows)
    parts: list[str] = []
    for axis, (heading, figure) in zip(axes, _FIGURES, strict=True):
        parts.append(_text(axis.left, top - 8, heading, size=11, weight="bold"))
        parts += axis.frame(top, bottom)
        for place, row in enumerate(rows):
            height = top + _LINE * (place + 0.5)
            parts += _dots(axis, height, _known(figure, row), _colour(row[0]))
    for place, row in enumerate(rows):
        pair, height = row[0], top + _LINE * (place + 0.5) + 4
        parts.append(_text(16, height, named(document, pair), fill=_colour(pair)))
        parts.append(_text(_LABELS + _WIDE + 16, height, pair["handshake"], fill=_colour(pair)))
    parts.append(_text(_LABELS + _WIDE + 16, top - 8, "handshake", size=11, weight="bold"))
    return parts, bottom + 30


def _faults(
    document: Document, draws: Sequence[Document], axis: _Axis, top: float
) -> tuple[list[str], float]:
    """Change of AUC of each fault in the mixed pairs; nothing for a score without classes."""
    mixed = [number for number, pair in enumerate(draws[0]["pairs"]) if not pair["matched"]]
    changes = {number: [_changes(draw["pairs"], number) for draw in draws] for number in mixed}
    names = sorted({name for found in changes.values() for one in found for name in one})
    if not names:
        return [], top
    bottom = top + 14 + _LINE * len(names)
    parts = [
        _text(_LABELS, top + 6, "AUC of a fault, less that of the matched pair", size=11,
              weight="bold"),
        *axis.frame(top + 14, bottom),
        f'<path d="M{axis.at(0):.1f} {top + 14:.1f}V{bottom:.1f}" stroke="{_TEXT}"/>',
    ]  # fmt: skip
    for place, (number, found) in enumerate(changes.items()):
        pair, colour = draws[0]["pairs"][number], _colour(draws[0]["pairs"][number])
        key = f"● {named(document, pair)}"
        parts.append(_text(_LABELS + 310 + 180 * place, top + 6, key, size=11, fill=colour))
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
    if pair["matched"]:
        return _MATCHED
    return _NEWER if pair["upstream"] > pair["downstream"] else _OLDER


def _text(
    x: float, y: float, text: str, *, size: int = 12, anchor: str = "start", weight: str = "normal",
    fill: str = _TEXT,
) -> str:  # fmt: skip
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" '
        f'font-weight="{weight}" fill="{fill}">{escape(text)}</text>'
    )
