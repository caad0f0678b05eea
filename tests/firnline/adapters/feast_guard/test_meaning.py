import os
import pickle
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import dill
import pytest
from feast import Field, RequestSource
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.types import Float32, Float64, String

from firnline.adapters.feast_guard.meaning import meaning, object_digest, reads_of, rests_on
from firnline.adapters.feast_guard.rules import Record, differences, expected
from firnline.adapters.feast_guard.udf import computation
from tests.resources.feast_versions import device, fields, line, service, source, view

SOURCE = """
SCALE = 3.0
def helper(x):
    return x * SCALE
def udf(frame):
    "What it does."
    frame["y"] = helper(frame["mean"]) + len("abc")
    return frame
"""


def test_a_view_means_what_its_line_records() -> None:
    held = line()
    wanted = expected(Record(held.reference, held.digest, held.record))
    assert meaning(view().to_proto()) == wanted
    assert meaning(source().to_proto()) == {"kind": "DataSource", **wanted["source"]}
    assert rests_on(wanted) == [("Entity", "device"), ("DataSource", "window_v1")]


def aged(of: Any) -> Any:
    of.created_timestamp = datetime(2026, 1, 1, tzinfo=UTC)
    of.materialization_intervals = [(of.created_timestamp, of.created_timestamp)]
    return of


@pytest.mark.parametrize(
    "edited",
    [
        view(description="other words"),
        view(owner="someone"),
        view(tags={**view().tags, "team": "cold"}),
        view(online=False),
        view(source=source(description="d", owner="o", tags={"a": "b"})),
        view(entities=[device(description="d")]),
        view(schema=[Field(name=f.name, dtype=f.dtype, description="d") for f in fields()]),
        aged(view()),
    ],
)
def test_cosmetic_edits_mean_the_same(edited: Any) -> None:
    assert object_digest(edited.to_proto()) == object_digest(view().to_proto())


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (view(ttl=timedelta(minutes=1)), "ttl_seconds 3600 -> 60"),
        (
            view(source=source(path="a.parquet")),
            "data source path firnline://window_v1 -> a.parquet",
        ),
        (view(source=source("b")), "data source name window_v1 -> b"),
        (
            view(source=source(timestamp_field="t")),
            "data source timestamp_column window_end -> t",
        ),
        (
            view(source=source(created_timestamp_column="made")),
            "data source created_column nothing -> made",
        ),
        (
            view(source=source(field_mapping={"a": "mean"})),
            'data source mapping nothing -> {"a":"mean"}',
        ),
        (view(schema=fields()[:-1]), "feature load gone"),
        (view(schema=[*fields(), Field(name="x", dtype=Float64)]), "feature x added"),
        (
            view(schema=[*fields()[:3], Field(name="load", dtype=Float64)]),
            "feature load: float32 -> float64",
        ),
        (view(schema=[fields()[0], *fields()[:0:-1]]), "features in another order"),
        (view(entities=[device(name="rig")]), "entities device -> rig"),
        (view(tags={"digest": "0" * 64}), "digest "),
        (view(tags={}), "digest "),
        (view(version="v0"), "pin nothing -> v0"),
    ],
)
def test_every_change_of_meaning_is_told(changed: Any, words: str) -> None:
    found = differences(meaning(view().to_proto()), meaning(changed.to_proto()))
    assert any(word.startswith(words) for word in found), found


def test_a_service_means_what_it_reads_in_order() -> None:
    def read(*views: Any) -> dict[str, Any]:
        return meaning(service(*views).to_proto())

    both = read(view(), view("other@v1"))
    assert reads_of(both) == ["window_v1", "other_v1"]
    assert differences(both, read(view("other@v1"), view())) == ["reads its views in another order"]
    assert differences(both, read(view())) == ["no longer reads other_v1"]
    assert differences(both, read(view(), view("other@v2"))) == [
        "no longer reads other_v1",
        "reads other_v2 too",
    ]
    fewer = read(view()[["mean"]], view("other@v1"))
    assert differences(both, fewer) == [
        "window_v1: feature slope gone",
        "window_v1: feature load gone",
    ]
    renamed = view().with_join_key_map({"device_id": "unit"})
    assert differences(read(view()), read(renamed)) == [
        'window_v1: join_key_map nothing -> {"device_id":"unit"}'
    ]


def pickled(text: str) -> bytes:
    scope: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(text, "module.py", "exec"), scope)  # noqa: S102
    return bytes(dill.dumps(scope["udf"], recurse=True))


def computed(text: str) -> dict[str, Any]:
    return computation(pickled(text), text[text.index("def udf") :])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('    "What it does."\n', "    # what it does\n"),
        ("def udf(frame):", "def udf(frame: object) -> object:"),
        ('frame["y"] = ', 'frame[ "y" ]  =\\\n '),
        ("def helper(x):", 'def helper(x):\n    "Scales."\n    # scales'),
        ("SCALE = 3.0", "SCALE = 6.0 / 2  # three\n\n"),
    ],
)
def test_layout_of_a_function_does_not_count(old: str, new: str) -> None:
    assert old in SOURCE
    assert computed(SOURCE.replace(old, new)) == computed(SOURCE)


@pytest.mark.parametrize(
    ("old", "new"),
    [("3.0", "4.0"), ("x * SCALE", "x + SCALE"), ('"y"', '"z"'), ("len(", "hash(")],
)
def test_a_function_with_all_it_reaches_counts(old: str, new: str) -> None:
    assert computed(SOURCE.replace(old, new)) != computed(SOURCE)


def test_a_text_that_is_not_the_pickled_function_does_not_stand_for_it() -> None:
    text = SOURCE[SOURCE.index("def udf") :]
    doctored = pickled(SOURCE.replace("len(", "hash("))
    assert computation(doctored, text) != computed(SOURCE)
    assert "code" in computation(doctored, text)


class Runs:
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, ("ran",)


def test_reading_a_pickle_runs_nothing(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first = computation(pickle.dumps(Runs()), "")
    assert not list(tmp_path.iterdir())
    assert first != computation(pickle.dumps(len), "")
    assert computation(b"no pickle", "") != computation(b"no pickle either", "")


def double(frame: Any):
    return frame


def derived(**changes: Any) -> OnDemandFeatureView:
    wanted: dict[str, Any] = {
        "name": "ratio_v1",
        "sources": [view(), RequestSource(name="asked", schema=[Field(name="q", dtype=Float32)])],
        "schema": [Field(name="y", dtype=Float64)],
        "udf": double,
        "udf_string": "def double(frame):\n    return frame\n",
        "mode": "pandas",
    }
    return OnDemandFeatureView(**(wanted | changes))


@pytest.mark.filterwarnings("ignore")
def test_a_derived_view_means_what_it_reads_and_computes() -> None:
    held = meaning(derived().to_proto())
    assert reads_of(held) == ["window_v1"]
    assert rests_on(held) == [("DataSource", "asked")]
    assert held["fields"] == [["y", "float64"]]
    again = derived(description="d", udf_string="def double(frame):  # same\n  return frame\n")
    assert meaning(again.to_proto()) == held
    for changed in (
        derived(udf=lambda frame: frame * 2, udf_string="lambda frame: frame * 2"),
        derived(schema=[Field(name="y", dtype=String)]),
        derived(sources=[view()]),
        derived(mode="python"),
    ):
        assert differences(held, meaning(changed.to_proto()))
