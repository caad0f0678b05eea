"""Carbon-intensity series from CSV files: our own layout, and two that are published.

| layout | time | zone | value |
|---|---|---|---|
| firnline | `datetime`, ISO 8601 with `Z` or an offset | `zone` | `carbon_intensity` |
| Electricity Maps data portal | `Datetime (UTC)` | `Zone Id` | `... gCO₂eq/kWh (LCA)` |
| Let's Wait Awhile (Wiesner et al. 2021) | `Time`, UTC | the file's name | `Carbon Intensity` |

All in gCO2e/kWh; an empty value is a gap.
"""

import csv
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from firnline.carbon.series import Series, regular
from firnline.errors import ContractError


@dataclass(frozen=True)
class _Layout:
    time: str
    value: str
    zone: str | None
    in_utc: bool


_LAYOUTS = (
    _Layout("datetime", "carbon_intensity", "zone", in_utc=False),
    _Layout("Datetime (UTC)", "Carbon Intensity gCO₂eq/kWh (LCA)", "Zone Id", in_utc=True),
    _Layout("Time", "Carbon Intensity", None, in_utc=True),
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def load(path: Path, zone: str | None = None) -> Series:
    """Read one zone's series and pass it through the quality gate.

    Args:
        path: CSV in one of the layouts above, UTF-8.
        zone: Which zone; may be left out where the file holds one.

    Raises:
        ContractError: K1 the file cannot be read, K2 its columns are in no known layout, or it
            does not hold the one zone; K3 a time or value cannot be read; K4 to K8 from
            `firnline.carbon.series.regular`.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            layout = _layout(reader.fieldnames or (), path)
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ContractError(
            "K1", found=f"not readable: {error}", where=str(path), mend="give a CSV in UTF-8"
        ) from error
    chosen = zone or (_only_zone(rows, layout.zone, path) if layout.zone else path.stem)
    times, values = [], []
    for number, row in enumerate(rows, start=2):
        if layout.zone and row[layout.zone] != chosen:
            continue
        times.append(_time(row[layout.time], layout, path, number))
        values.append(_value(row[layout.value], path, number))
    if not times:
        raise ContractError(
            "K2", found=f"no row of zone {chosen}", where=str(path), mend="name a zone it holds"
        )
    return regular(chosen, np.array(times, np.int64), np.array(values, float), where=str(path))


def _layout(columns: "list[str] | tuple[str, ...] | object", path: Path) -> _Layout:
    present = set(columns) if isinstance(columns, list | tuple) else set()
    for layout in _LAYOUTS:
        if {layout.time, layout.value, layout.zone or layout.time} <= present:
            return layout
    raise ContractError(
        "K2",
        found=f"columns {', '.join(sorted(present)) or 'none'}",
        where=str(path),
        mend="give the columns datetime, zone, carbon_intensity; docs/carbon.md has the layouts",
    )


def _only_zone(rows: list[dict[str, str]], column: str, path: Path) -> str:
    zones = sorted({row[column] or "" for row in rows})
    if len(zones) != 1:
        raise ContractError(
            "K2",
            found=f"{len(zones)} zones ({', '.join(zones[:5])})",
            where=str(path),
            mend="name the zone to read" if zones else "give it rows",
        )
    return zones[0]


def _time(text: str | None, layout: _Layout, path: Path, number: int) -> int:
    try:
        at = datetime.fromisoformat(text or "")
    except ValueError as error:
        raise _unreadable(f"time {text!r}", path, number) from error
    if at.tzinfo is None:
        if not layout.in_utc:
            raise _unreadable(f"time {text!r} without Z or an offset", path, number)
        at = at.replace(tzinfo=UTC)
    return (at - _EPOCH) // _MICROSECOND


def _value(text: str | None, path: Path, number: int) -> float:
    try:
        return float("nan") if text == "" else float(text or "absent")
    except ValueError as error:
        raise _unreadable(f"value {text!r}", path, number) from error


def _unreadable(what: str, path: Path, number: int) -> ContractError:
    return ContractError(
        "K3",
        found=what,
        where=f"{path}, line {number}",
        mend="write times as 2026-01-31T06:00:00Z and values as gCO2e/kWh",
    )
