"""Checks of feature views: their expressions run on readings with and without nulls."""

from collections.abc import Sequence
from pathlib import Path

import duckdb
import numpy as np
from numpy.typing import NDArray

from firnline.adapters.duckdb_features import compute
from firnline.checks import readings
from firnline.checks.finding import Findings, no, ok
from firnline.checks.tools import FloatMatrix
from firnline.contracts.features import WindowView
from firnline.contracts.reading import ReadingContract

_MEND = "correct the expression; docs/features.md has the rules"
_MICROS = 1_000_000


def names_of(view: WindowView) -> tuple[str, str]:
    """Names of a view's two findings: on complete readings, and on readings with nulls."""
    return f"view {view.reference}: runs", f"view {view.reference}: nulls"


def run_views(
    contract: ReadingContract,
    views: Sequence[WindowView],
    when: readings.Plan,
    folder: Path,
    findings: Findings,
) -> bool:
    """Compute every view into `folder/nulls/`; whether all of them ran.

    Args:
        contract: What readings are made of.
        views: What to compute.
        when: The readings' times.
        folder: An empty folder.
        findings: Two are added a view.
    """
    for kind in ("complete", "nulls"):
        clean = folder / f"clean-{kind}"
        readings.write(contract, when, clean, nulls=kind == "nulls")
        for view in views:
            name = names_of(view)[kind == "nulls"]
            if kind == "nulls" and findings.broken(names_of(view)[0]):
                continue
            with findings.trying(name, _MEND):
                counted = compute(view, clean, folder / kind)
                _judge(view, folder / kind, counted.windows, name, findings)
    return not findings.broken(*(name for view in views for name in names_of(view)))


def _judge(view: WindowView, out: Path, windows: int, name: str, findings: Findings) -> None:
    if not windows:
        findings.append(no(name, "not one window came out of readings", _MEND))
        return
    values, _, _ = _load(view, out)
    endless = [view.features[place] for place in np.flatnonzero(np.isinf(values).any(axis=0))]
    if endless:
        mend = "make a quotient null where its divisor is zero, with nullif(0)"
        findings.append(no(name, f"infinite in some windows: {', '.join(endless)}", mend))
        return
    empty = [view.features[place] for place in np.flatnonzero(np.isnan(values).all(axis=0))]
    told = f"{len(view.features)} features over {windows:,} windows"
    findings.append(ok(name, told + (f"; always null: {', '.join(empty)}" if empty else "")))


def join(
    views: Sequence[WindowView], out: Path
) -> tuple[FloatMatrix, tuple[str, ...], NDArray[np.str_], NDArray[np.int64]]:
    """The training rows of computed views: each window of the first, joined as of its end.

    Returns:
        Features [rows, columns] with NaN where there is none within the TTL, their names as
        `view__feature`, keys [rows], and ends in epoch microseconds [rows].
    """
    _, keys, ends = _load(views[0], out)
    blocks = [_as_of(view, out, keys, ends) for view in views]
    names = tuple(f"{view.name}__{feature}" for view in views for feature in view.features)
    return np.hstack(blocks).astype(np.float32), names, keys, ends


def _as_of(
    view: WindowView, out: Path, keys: NDArray[np.str_], ends: NDArray[np.int64]
) -> NDArray[np.float64]:
    values, own_keys, own_ends = _load(view, out)
    joined = np.full((len(keys), values.shape[1]), np.nan)
    for key in np.unique(keys):
        rows, own = np.flatnonzero(keys == key), np.flatnonzero(own_keys == key)
        place = np.searchsorted(own_ends[own], ends[rows], side="right") - 1
        there = place >= 0
        there[there] = ends[rows[there]] - own_ends[own[place[there]]] <= view.ttl_seconds * _MICROS
        joined[rows[there]] = values[own[place[there]]]
    return joined


def _load(
    view: WindowView, out: Path
) -> tuple[NDArray[np.float64], NDArray[np.str_], NDArray[np.int64]]:
    """Features [rows, columns], keys and window ends of a computed view, by key and time."""
    files = str(out / view.table / "*" / "*.parquet").replace("'", "''")
    with duckdb.connect(":memory:", config={"threads": 1}) as database:
        table = database.execute(
            f'SELECT "{view.key}" AS key, epoch_us(window_end) AS micros, '
            + ", ".join(f'"{feature}"' for feature in view.features)
            + f" FROM read_parquet('{files}', hive_partitioning = false) ORDER BY 1, 2"
        ).to_arrow_table()
    columns = [table[feature].to_numpy() for feature in view.features]
    keys = np.array(table["key"].to_pylist(), dtype=str)
    return np.column_stack(columns).astype(np.float64), keys, table["micros"].to_numpy()
