from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from firnline.adapters.feast_offline import asof, join, match, parquet, sources
from firnline.adapters.feast_offline.times import span_nanoseconds
from tests.firnline.adapters.feast_offline import reference

START = datetime(2026, 1, 1, tzinfo=UTC)
TIME = pa.timestamp("us", tz="UTC")
RANDOM_CASES = 10_000


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def source(path: Path) -> sources.Source:
    return sources.Source(str(path), sources.Place(path.parent, None), None)


def view(
    path: Path,
    ttl: timedelta | None,
    keys: Sequence[str] = ("key",),
    created: str | None = None,
    column: str = "v",
) -> join.View:
    rows = match.Rows("view", source(path), tuple(keys), "ts", created)
    span = None if ttl is None else span_nanoseconds(ttl)
    return join.View(rows, tuple(keys), span, ((column, "found"),))


def write(path: Path, rows: Sequence[dict[str, Any]], schema: Any, files: int = 1) -> Path:
    path.mkdir()
    for number, part in enumerate(np.array_split(np.arange(len(rows)), files)):
        table = pa.Table.from_pylist([rows[place] for place in part], schema)
        pq.write_table(
            table, path / f"part-{number}.parquet", row_group_size=max(len(rows) // 7, 1)
        )
    return path


@dataclass(frozen=True)
class Kind:
    ttl: timedelta | None
    created: bool
    known_by_then: bool
    text: bool
    unit: str


KINDS = [
    Kind(ttl and timedelta(seconds=ttl), created, known_by_then, text, unit)
    for (ttl, unit), created, known_by_then, text in product(
        [(None, "us"), (4, "ns"), (1, "s")], [False, True], [False, True], [False, True]
    )
    if created or not known_by_then
]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_random_cases_are_as_the_definition(
    kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A case is a key of its own, so that many cases are one join; times are few, so many tie."""
    monkeypatch.setattr(parquet, "BATCH_ROWS", 997)
    if kind.text:
        # As if keys and times were too many for one integer.
        monkeypatch.setattr(asof, "_SEARCH_BITS", 4)
    rng = np.random.default_rng(KINDS.index(kind))
    cases = -(-RANDOM_CASES // len(KINDS))
    # Entity rows on whole seconds, feature rows between them, or both on odd microseconds.
    entity_tick, feature_tick = {"s": (1, 1), "us": (0.999999, 0.999999), "ns": (1, 0.3)}[kind.unit]

    def moment(low: int, high: int, tick: float = feature_tick) -> datetime | None:
        step = int(rng.integers(low, high))
        return None if step == low and rng.random() < 0.2 else at(step * tick)

    def key(case: int) -> dict[str, Any]:
        sub = None if rng.random() < 0.05 else int(rng.integers(0, 2))
        return {"case": case, "key": sub if not kind.text or sub is None else f"key {sub}"}

    entities, features = [], []
    for case in range(cases):
        for _ in range(rng.integers(1, 5)):
            row = {**key(case), "event_timestamp": moment(-3, 12, entity_tick)}
            entities.append(row)
        entities += entities[-1:] if rng.random() < 0.2 else []
        for _ in range(rng.integers(0, 9)):
            features.append({**key(case), "ts": moment(0, 8), "v": float(len(features))})
            if kind.created:
                features[-1]["created"] = moment(0, 5)
    rng.shuffle(entities)
    rng.shuffle(features)
    for row in features[::11]:
        row["v"] = None
    text = pa.string() if kind.text else pa.int32()
    time = pa.timestamp(kind.unit, tz=None if kind.unit == "ns" else "UTC")
    schema = [("case", pa.int32()), ("key", text), ("ts", time), ("v", pa.float64())]
    schema += [("created", TIME)] if kind.created else []
    path = write(tmp_path / "rows", features, pa.schema(schema), files=3)
    spine = pa.schema([("case", pa.int64()), ("key", text), ("event_timestamp", TIME)])
    created = "created" if kind.created else None
    found = join.join(
        pa.Table.from_pylist(entities, spine),
        "event_timestamp",
        [view(path, kind.ttl, ("case", "key"), created)],
        known_by_then=kind.known_by_then,
    )
    wanted = reference.join(entities, features, ("case", "key"), kind.ttl, kind.known_by_then)
    assert found["found"].to_pylist() == wanted
    assert found.drop_columns(["found"]).to_pylist() == entities
    assert 0 < found["found"].null_count < len(entities)


moments = (
    st.none() | st.integers(-2, 8).map(at) | st.integers(0, 4_000_000).map(lambda us: at(us / 1e6))
)
feature_rows = st.lists(
    st.fixed_dictionaries(
        {
            "key": st.none() | st.integers(0, 2),
            "ts": moments,
            "created": moments,
            "v": st.integers(0).filter(lambda value: value < 2**40),
        }
    ),
    max_size=12,
)
entity_rows = st.lists(
    st.fixed_dictionaries({"key": st.none() | st.integers(0, 3), "event_timestamp": moments}),
    min_size=1,
    max_size=8,
)


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(entity_rows, feature_rows, st.sampled_from([None, 0.5, 1, 3]), st.booleans(), st.booleans())
@example([{"key": 0, "event_timestamp": at(3)}], [], None, False, False)
def test_any_rows_are_as_the_definition(
    tmp_path_factory: pytest.TempPathFactory,
    entities: list[dict[str, Any]],
    features: list[dict[str, Any]],
    ttl_seconds: float | None,
    with_created: bool,
    known_by_then: bool,
) -> None:
    ttl = None if ttl_seconds is None else timedelta(seconds=ttl_seconds)
    schema = pa.schema([("key", pa.int64()), ("ts", TIME), ("created", TIME), ("v", pa.int64())])
    if not with_created:
        features = [{key: row[key] for key in ("key", "ts", "v")} for row in features]
    path = tmp_path_factory.mktemp("any") / "rows.parquet"
    pq.write_table(pa.Table.from_pylist(features, schema), path)
    found = join.join(
        pa.Table.from_pylist(entities, pa.schema([("key", pa.int64()), ("event_timestamp", TIME)])),
        "event_timestamp",
        [view(path, ttl, created="created" if with_created else None)],
        known_by_then=known_by_then,
    )
    assert found["found"].to_pylist() == reference.join(
        entities, features, ["key"], ttl, known_by_then
    )


def test_files_may_differ_and_times_may_be_far(tmp_path: Path) -> None:
    """Text as dictionaries, a wider type and another unit in later files, no rows in the last."""
    early = pa.table(
        {
            "key": pa.array(["a", "b"]).dictionary_encode(),
            "ts": pa.array([at(0), at(1)], TIME),
            "v": pa.array([1, 2], pa.int64()),
        }
    )
    nanoseconds = pa.timestamp("ns")
    late = pa.table({"key": ["a", "c"], "ts": pa.array([at(3)] * 2, nanoseconds), "v": [9, 8]})
    for number, table in enumerate((early, late, late.slice(0, 0))):
        pq.write_table(table, tmp_path / f"{number}.parquet")
    far = [datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)]
    entities = [(key, time) for key in "abcd" for time in (*far, at(2))]
    columns = {"key": [key for key, _ in entities], "event_timestamp": [t for _, t in entities]}
    for keys, wanted in (
        (("key",), [None, 9, 1, None, 2, 2, None, 8, None, None, None, None]),
        ((), [None, 8, 2] * 4),
    ):
        found = join.join(pa.table(columns), "event_timestamp", [view(tmp_path, None, keys)])
        assert found["found"].to_pylist() == wanted
