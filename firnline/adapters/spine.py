"""The spine of a training set: a row for each window of a view, with what it was."""

from pathlib import Path

import duckdb

NORMAL = "normal"


def build(view_folder: Path, labels: Path, key: str, out: Path) -> int:
    """Label each window of a view by the episode that covers its end.

    An episode is half-open and a window ends just before `window_end`, so it covers when
    `start < window_end <= end`. Of several the most severe counts (when labels have a
    `severity`), then the earliest, then the first by name. A window that none covers is
    `normal`; but where there is not one episode nobody has looked, so all are unknown: ``.

    Args:
        view_folder: Windows of the view, as `duckdb_features.compute` writes them.
        labels: Parquet with the key, `start`, `end` (UTC) and `label`.
        key: The entity's column.
        out: Parquet to write: key, `event_timestamp` (the window's end, UTC), `label`; sorted
            by both.

    Returns:
        Rows written.
    """
    partial = out.with_name(f".{out.name}")
    with duckdb.connect(":memory:", config={"threads": 1}) as database:
        database.execute("SET TimeZone='UTC'")
        database.read_parquet(str(labels)).create_view("labels")
        database.read_parquet(str(view_folder / "*" / "*.parquet")).create_view("windows")
        severity = "severity" if "severity" in database.view("labels").columns else "0"
        counted = database.execute("SELECT count(*) FROM labels").fetchone()
        uncovered = NORMAL if counted and counted[0] else ""
        database.execute(
            f"""
            COPY (
                SELECT w."{key}", w.window_end AS event_timestamp,
                    CASE WHEN count(l."{key}") = 0 THEN '{uncovered}' ELSE coalesce(
                        first(l.label ORDER BY {severity} DESC, l.start, l.label)
                        FILTER (l."{key}" IS NOT NULL), '') END AS label
                FROM windows w LEFT JOIN labels l
                    ON w."{key}" = l."{key}" AND l.start < w.window_end AND w.window_end <= l."end"
                GROUP BY ALL ORDER BY ALL
            ) TO '{str(partial).replace("'", "''")}' (FORMAT parquet, COMPRESSION zstd)
            """
        )
        rows = database.read_parquet(str(partial)).count("*").fetchone()
    partial.replace(out)
    return int(rows[0]) if rows else 0
