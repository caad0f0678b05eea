"""Feature drift with Evidently: scores for the verdict, and a report for people.

Evidently's own PSI bins by equal widths over both samples, so that one outlier hides a shift,
and its distance tests choose another method above 1,000 rows. The score registered here is
`firnline.evidence.drift.psi`: deciles of the reference, the same for any number of rows.
"""

import json
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from firnline.errors import EvidenceError
from firnline.evidence import sampling
from firnline.evidence.drift import Comparison, Limits, calibrated_limit, psi

if TYPE_CHECKING:
    import pandas as pd

HTML = "drift.html"
JSON = "drift.json"
METHOD = "psi_deciles"
TIME = "event_timestamp"
_DAY_MICROSECONDS = 86_400 * 1_000_000
_LEAST_PERIODS = 3
_LEAST_ROWS = 50
_DIGITS = 6

Columns = dict[str, NDArray[np.float64]]


def compare(
    reference: Path,
    current: Path,
    columns: Sequence[str],
    out: Path,
    *,
    sample_rows: int = 20_000,
    limits: Limits | None = None,
) -> Comparison:
    """Compare features with their training reference; write the report and its figures.

    Columns that are absent, empty or nearly so in a sample are kept from Evidently, which would
    fail on them, and named with the reason. Where the reference spans three days or more, a
    feature's limit is raised to how far those days lie from each other.

    Args:
        reference: Parquet of training rows.
        current: Parquet of the rows to judge.
        columns: Feature columns to compare.
        out: Existing folder; gets `drift.html`, which needs no network, and `drift.json`,
            whose bytes depend on the two files and the limits alone.
        sample_rows: Most rows taken of each file, chosen by hash.
        limits: What counts as drift.

    Raises:
        EvidenceError: DC1 a file has no rows, DC2 the reference lacks a column.
    """
    limits = limits or Limits()
    before, days = _read(reference, columns, sample_rows, "reference")
    now, _ = _read(current, columns, sample_rows, "current")
    absent = [name for name in columns if name not in before]
    if absent:
        raise EvidenceError(
            "DC2",
            found=f"no column {', '.join(absent[:3])}",
            where=str(reference),
            mend="compare against the training set the model was trained on",
        )
    skipped = {name: reason for name in columns if (reason := _why_not(before, now, name))}
    compared = [name for name in columns if name not in skipped]
    own = {name: _own_limit(before[name], days, limits.psi) for name in compared}
    comparison = Comparison(
        scores=_report(before, now, own, out / HTML),
        limits=own,
        not_compared=skipped,
        missing_points={name: _missing(now[name]) - _missing(before[name]) for name in compared},
        lost=tuple(name for name in skipped if _rows(before, name) and not _rows(now, name)),
        reference_rows=len(days),
        current_rows=len(next(iter(now.values()), np.empty(0))),
    )
    _write(out / JSON, {"method": METHOD, "significant": limits.psi, **_plain(asdict(comparison))})
    return comparison


def _read(
    path: Path, columns: Sequence[str], size: int, role: str
) -> tuple[Columns, NDArray[np.int64]]:
    """Sampled columns that the file has, infinities as NaN, and the day of each row."""
    file = pq.ParquetFile(path)
    if not file.metadata.num_rows:
        raise EvidenceError(
            "DC1",
            found=f"the {role} has no rows",
            where=str(path),
            mend="give both samples rows: check the split, or wait for more windows",
        )
    names = file.schema_arrow.names
    wanted = [name for name in columns if name in names]
    times = [TIME] if TIME in names else []
    chosen = sampling.sample_rows(file.metadata.num_rows, size, role)
    parts, start = [], 0
    for group in range(file.num_row_groups):
        end = start + file.metadata.row_group(group).num_rows
        rows = chosen[(chosen >= start) & (chosen < end)] - start
        if len(rows):
            parts.append(file.read_row_group(group, columns=wanted + times).take(rows))
        start = end
    table = pa.concat_tables(parts)
    days = np.zeros(len(chosen), np.int64)
    if times:
        stamps = table.column(TIME).cast(pa.timestamp("us", "UTC")).cast(pa.int64())
        days = (stamps.to_numpy() - 1) // _DAY_MICROSECONDS
    return {name: _values(table.column(name)) for name in wanted}, days


def _values(column: pa.ChunkedArray) -> NDArray[np.float64]:
    values: NDArray[np.float64] = column.cast(pa.float64()).to_numpy().copy()
    values[~np.isfinite(values)] = np.nan
    return values


def _why_not(before: Columns, now: Columns, name: str) -> str | None:
    if name not in now:
        return "the current file has no such column"
    for role, columns in (("reference", before), ("current", now)):
        rows = _rows(columns, name)
        if rows < _LEAST_ROWS:
            return f"{rows or 'no'} values in the {role}, at least {_LEAST_ROWS} are needed"
    return None


def _rows(columns: Columns, name: str) -> int:
    return int(np.isfinite(columns[name]).sum()) if name in columns else 0


def _missing(values: NDArray[np.float64]) -> float:
    return 100 * float(np.isnan(values).mean())


def _own_limit(values: NDArray[np.float64], days: NDArray[np.int64], limit: float) -> float:
    present = np.isfinite(values)
    values, days = values[present], days[present]
    names, counts = np.unique(days, return_counts=True)
    names = names[counts >= _LEAST_ROWS]
    if len(names) < _LEAST_PERIODS:
        return limit
    between = [psi(values[days != day], values[days == day]) for day in names]
    return calibrated_limit(between, limit)


def _report(
    before: Columns, now: Columns, limits: dict[str, float], html: Path
) -> dict[str, float]:
    """Score each column that has a limit, as Evidently's snapshot holds it; write the HTML."""
    if not limits:
        _replace(html, "<!doctype html><title>drift</title><p>No feature could be compared.\n")
        return {}
    import pandas as pd

    with warnings.catch_warnings():
        # Evidently and the web framework it imports use names their dependencies deprecate.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", SyntaxWarning)
        from evidently import DataDefinition, Dataset, Report
        from evidently.metrics import ValueDrift

        _register()
        definition = DataDefinition(numerical_columns=list(limits))
        metrics = [
            ValueDrift(column=name, method=METHOD, threshold=limit)
            for name, limit in limits.items()
        ]
        snapshot = Report(metrics).run(
            Dataset.from_pandas(pd.DataFrame({name: now[name] for name in limits}), definition),
            Dataset.from_pandas(pd.DataFrame({name: before[name] for name in limits}), definition),
        )
        partial = html.with_suffix(".part")
        snapshot.save_html(str(partial))
        partial.replace(html)
        return {row["config"]["column"]: float(row["value"]) for row in snapshot.dict()["metrics"]}


def _register() -> None:
    from evidently.legacy.calculations.stattests import StatTest, register_stattest
    from evidently.legacy.core import ColumnType

    test = StatTest(
        name=METHOD,
        display_name="PSI over deciles of the reference",
        allowed_feature_types=[ColumnType.Numerical],
        default_threshold=Limits().psi,
    )
    register_stattest(test, _score)


def _score(
    reference: "pd.Series[float]", current: "pd.Series[float]", _kind: object, limit: float
) -> tuple[float, bool]:
    score = psi(reference.dropna().to_numpy(), current.dropna().to_numpy())
    return score, score >= limit


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    return round(value, _DIGITS) if isinstance(value, float) else value


def _write(path: Path, document: dict[str, Any]) -> None:
    _replace(path, json.dumps(document, indent=1, sort_keys=True, allow_nan=False) + "\n")


def _replace(path: Path, text: str) -> None:
    partial = path.with_suffix(".part")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
