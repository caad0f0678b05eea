import asyncio
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from feast import Entity, FeatureService, FeatureStore, Field, PushSource, RequestSource, ValueType
from feast.on_demand_feature_view import on_demand_feature_view
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.type_map import python_values_to_proto_values
from feast.types import Array, Bool, Bytes, Float32, Float64, Int32, Int64, Map, String
from feast.types import UnixTimestamp as Time

from firnline.adapters.feast_online.base import PackedOnlineStore
from firnline.adapters.feast_online.read import read as read_fast
from firnline.errors import HandshakeError
from tests.firnline.adapters.feast_online import repository

Fresh = Callable[[], dict[str, Any]]
Opened = Callable[[], FeatureStore]
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SAMPLES: dict[ValueType, Any] = {
    ValueType.DOUBLE: 0.1,
    ValueType.FLOAT: 0.5,
    ValueType.INT64: -(2**60),
    ValueType.INT32: -7,
    ValueType.BOOL: False,
    ValueType.STRING: "Kühlung",
    ValueType.BYTES: b"\x00\xff",
    ValueType.UNIX_TIMESTAMP: NOON,
    ValueType.UUID: uuid.UUID(int=5),
    ValueType.DECIMAL: Decimal("1.10"),
    ValueType.MAP: {"a": 1, "b": {"c": "d"}},
    ValueType.JSON: '{"a": [1]}',
    ValueType.STRUCT: {"a": 1},
    ValueType.DOUBLE_LIST: [1.0, 2.0],
    ValueType.FLOAT_LIST: [0.5],
    ValueType.INT64_LIST: [1, -1],
    ValueType.INT32_LIST: [3],
    ValueType.BOOL_LIST: [True, False],
    ValueType.STRING_LIST: ["a", ""],
    ValueType.BYTES_LIST: [b"x"],
    ValueType.UNIX_TIMESTAMP_LIST: [NOON],
    ValueType.INT64_SET: {1},
    ValueType.STRING_SET: {"a"},
}


def key(name: str) -> EntityKey:
    return EntityKey(join_keys=["device_id"], entity_values=[Value(string_val=name)])


def test_every_value_type_reads_back_as_in_feasts_own_store(fresh: Fresh, tmp_path: Path) -> None:
    """A view declares a type, and a writer may still send another: both stores keep what came."""
    values = {
        kind.name.lower(): python_values_to_proto_values([sample], kind)[0]
        for kind, sample in SAMPLES.items()
    }
    declared = [(name, Float64 if name == "int32" else String) for name in values]
    declared = [(n, Float64 if n == "double" else d) for n, d in declared]
    sets = [
        ("full", values, NOON, NOON),
        ("null", dict.fromkeys(values, Value()), NOON.replace(tzinfo=None), None),
    ]
    rows = [(key(name), each, event, created) for name, each, event, created in sets]
    answers = []
    for name, online in (("ours", fresh()), ("feasts", repository.FEASTS)):
        folder = tmp_path / name
        store = repository.feast(folder, online)
        view = repository.view(folder, declared)
        online_store = store._get_provider().online_store
        online_store.update(store.config, [], [view], [], [], False)
        online_store.online_write_batch(store.config, view, rows, None)
        keys = [key("null"), key("none"), key("full")]
        answers.append(online_store.online_read(store.config, view, keys))
    assert answers[0] == answers[1]
    assert answers[0][2] == (NOON, values)


FIELDS = [
    ("double", Float64), ("single", Float32), ("long", Int64), ("int", Int32), ("flag", Bool),
    ("text", String), ("raw", Bytes), ("time", Time), ("list", Array(Float64)), ("map", Map),
]  # fmt: skip


def typed_table() -> pa.Table:
    time = pa.timestamp("us", tz="UTC")
    return repository.table(
        3,
        double=[0.1, None, float("nan")],
        single=pa.array([0.5, None, 1.5], pa.float32()),
        long=[2**60, None, -1],
        int=pa.array([-7, None, 7], pa.int32()),
        flag=[False, None, True],
        text=["Kühlung", None, ""],
        raw=[b"\x00", None, b""],
        time=pa.array([NOON, NOON, NOON], time),
        list=[[1.0, 2.0], None, [3.0]],
        map=['{"a": "b"}', None, "{}"],
        made=pa.array([NOON, NOON, NOON], time),
    )


def test_materialised_columns_read_as_through_feasts_own_path(fresh: Fresh, tmp_path: Path) -> None:
    data = typed_table()
    answers = []
    for name, online in (("ours", fresh()), ("feasts", repository.FEASTS)):
        folder = tmp_path / name
        provider = repository.PROVIDER if name == "ours" else "local"
        store = repository.feast(folder, online, provider)
        view = repository.view(folder, FIELDS, created_timestamp_column="made")
        repository.materialized(store, folder, [repository.DEVICE, view], data)
        found = repository.read(
            store, [f"window_v1:{field}" for field, _ in FIELDS], ["d2", "d0", "none", "d1", "d0"]
        )
        answers.append(found)
    ours, theirs = (each.to_dict(include_event_timestamps=True) for each in answers)
    assert ours == theirs
    assert list(ours)[0::2] == ["device_id", *(name for name, _ in FIELDS)]
    statuses = {
        name: [list(vector.statuses) for vector in answer.proto.results]
        for name, answer in zip(("ours", "theirs"), answers, strict=True)
    }
    assert sorted(statuses["ours"]) == sorted(statuses["theirs"])
    assert ours["double"] == [None, 0.1, None, None, 0.1]


@pytest.fixture(scope="module")
def opened(fresh: Fresh, tmp_path_factory: pytest.TempPathFactory) -> Opened:
    """Opens a repository: a device's view, one of a device in a zone, and an on-demand view."""
    folder, online = tmp_path_factory.mktemp("repo"), fresh()
    store = repository.feast(folder, online)
    view = repository.view(folder)
    zone = Entity(name="zone", join_keys=["zone_id"], value_type=ValueType.INT64)
    fields = [("third", Float64)]
    pair = repository.view(
        folder, fields, name="pair_v1", digest="b" * 64, entities=[repository.DEVICE, zone],
        keys=[("device_id", String), ("zone_id", Int64)], field_mapping={"3rd": "third"},
    )  # fmt: skip

    @on_demand_feature_view(
        sources=[view, RequestSource(name="ask", schema=[Field(name="factor", dtype=Float64)])],
        schema=[Field(name="scaled", dtype=Float64)],
        mode="python",
    )
    def scaled(inputs: dict[str, Any]) -> dict[str, Any]:
        pairs = zip(inputs["first"], inputs["factor"], strict=True)
        return {"scaled": [first and first * factor for first, factor in pairs]}

    service = FeatureService(name="both", features=[pair, view[["second", "first"]]])
    data = repository.table(
        3,
        first=[1.0, 2.0, None],
        second=[10.0, 20.0, 30.0],
        zone_id=[7, 8, 9],
        **{"3rd": [0.0] * 3},
    )
    objects = [repository.DEVICE, zone, view, pair, scaled, service]
    repository.materialized(store, folder, objects, data)
    return lambda: repository.feast(folder, online)


def test_several_views_services_and_on_demand_views(opened: Opened) -> None:
    store = opened()
    rows = [{"device_id": "d1", "zone_id": 8}, {"device_id": "d1", "zone_id": 7}]
    found = repository.read(
        store, store.get_feature_service("both"), rows, full_feature_names=True
    ).to_dict()
    assert list(found.items()) == [
        ("device_id", ["d1", "d1"]),
        ("zone_id", [8, 7]),
        ("pair_v1__third", [0.0, None]),
        ("window_v1__first", [2.0, 2.0]),
        ("window_v1__second", [20.0, 20.0]),
    ]
    rows = [{"device_id": name, "factor": 3.0} for name in ("d1", "d2", "none")]
    found = repository.read(store, ["scaled:scaled", "window_v1:second"], rows).to_dict()
    assert found["scaled"] == [6.0, None, None]
    assert found["second"] == [20.0, 30.0, None]


def test_awaited_reads_and_version_metadata(opened: Opened) -> None:
    store = opened()
    ask: dict[str, Any] = {"features": ["window_v1:first"], "entity_rows": [{"device_id": "d0"}]}
    with repository.as_feast_warns():
        told = store.get_online_features(**ask, include_feature_view_version_metadata=True)
        found = asyncio.run(store.get_online_features_async(**ask))
    assert [each.name for each in told.proto.metadata.feature_view_metadata] == ["window_v1"]
    assert found.to_dict() == told.to_dict() == {"device_id": ["d0"], "first": [1.0]}
    pd.testing.assert_frame_equal(
        found.to_df(), pd.DataFrame({"device_id": ["d0"], "first": [1.0]})
    )


def test_the_fast_read_keeps_order_and_gives_what_feast_gives(opened: Opened) -> None:
    store = opened()
    rows = store._get_provider().online_store.rows(store.config)
    keys = ["d2", "none", "d0", "d0"]
    found = read_fast(
        rows, "fleet_window_v1", {"device_id": keys}, ["second", "first"], repository.DIGEST
    )
    assert list(found) == ["device_id", "second", "first"]
    assert found["first"] == [None, None, 1.0, 1.0]
    through_feast = repository.read(store, ["window_v1:first", "window_v1:second"], keys).to_dict()
    assert found == through_feast
    zoned = {"device_id": ["d1"], "zone_id": [8]}
    assert read_fast(rows, "fleet_pair_v1", zoned, ["third"], "b" * 64)["third"] == [0.0]


def test_another_digest_is_neither_served_nor_written(opened: Opened) -> None:
    store = opened()
    folder = store.config.repo_path
    online: PackedOnlineStore = store._get_provider().online_store
    rows = online.rows(store.config)
    with pytest.raises(HandshakeError, match=r"\[N1\].*fleet_window_v1.*aaaaaa.*bbbbbb"):
        read_fast(rows, "fleet_window_v1", {"device_id": ["d0"]}, ["first"], "b" * 64)
    other = repository.view(folder, digest="b" * 64)
    with pytest.raises(HandshakeError, match=r"\[N1\]"):
        online.online_read(store.config, other, [key("d0")], ["first"])
    with pytest.raises(HandshakeError, match=r"\[N2\]"):
        online.online_write_batch(
            store.config, other, [(key("d0"), {"first": Value(double_val=9.0)}, NOON, None)], None
        )
    untagged = repository.view(folder, digest="")
    with pytest.raises(HandshakeError, match=r"\[N1\]"):
        online.online_read(store.config, untagged, [key("d0")], ["first"])


def test_pushes_and_partial_rows_keep_the_other_features(fresh: Fresh, tmp_path: Path) -> None:
    store = repository.feast(tmp_path, fresh())
    view = repository.view(tmp_path)
    push = PushSource(name="push", batch_source=view.batch_source)
    pushed = repository.view(tmp_path)
    pushed.stream_source = push
    data = repository.table(2, first=[1.0, 2.0], second=[3.0, 4.0])
    repository.materialized(store, tmp_path, [repository.DEVICE, push, pushed], data)
    frame = pd.DataFrame(
        {"device_id": ["d0", "d9"], "window_end": [repository.END + timedelta(minutes=1)] * 2}
        | {"first": [8.0, 9.0], "second": [np.nan, 7.0]}
    )
    with repository.as_feast_warns():
        store.push("push", frame)
        store.write_to_online_store("window_v1", frame.assign(first=0.0, window_end=NOON))
    features = ["window_v1:first", "window_v1:second"]
    found = repository.read(store, features, ["d0", "d1", "d9"]).to_dict()
    assert (found["first"], found["second"]) == ([8.0, 2.0, 9.0], [None, 4.0, 7.0])
    later = repository.END + timedelta(hours=1)
    online = store._get_provider().online_store
    part = [(key(name), {"second": Value(double_val=6.0)}, later, None) for name in ("d1", "new")]
    online.online_write_batch(store.config, pushed, part, None)
    found = repository.read(store, features, ["d0", "d1", "new"]).to_dict()
    assert (found["first"], found["second"]) == ([8.0, 2.0, None], [None, 6.0, 6.0])


def test_versions_stand_beside_each_other_and_go_alone(fresh: Fresh, tmp_path: Path) -> None:
    """The name of one begins with the other's, as that of a tenth version does."""
    store = repository.feast(tmp_path, fresh())
    first = repository.view(tmp_path)
    second = repository.view(
        tmp_path, [("second", Float64), ("third", Int64)], name="window_v11", digest="b" * 64
    )
    data = repository.table(2, first=[1.0, 2.0], second=[3.0, 4.0], third=[5, 6])
    repository.materialized(store, tmp_path, [repository.DEVICE, first, second], data)
    later = pd.DataFrame(
        {"device_id": ["d0"], "window_end": [repository.END + timedelta(minutes=1)]}
        | {"first": [8.0], "second": [9.0]}
    )
    with repository.as_feast_warns():
        store.write_to_online_store("window_v1", later)
    asked = ["window_v11:third", "window_v1:second", "window_v11:second", "window_v1:first"]
    found = repository.read(store, asked, ["d1", "d0"], full_feature_names=True).to_dict()
    assert list(found.items())[1:] == [
        ("window_v11__second", [4.0, 3.0]),
        ("window_v11__third", [6, 5]),
        ("window_v1__first", [2.0, 8.0]),
        ("window_v1__second", [4.0, 9.0]),
    ]
    with repository.as_feast_warns():
        store.apply([], objects_to_delete=[first], partial=False)
    online: PackedOnlineStore = store._get_provider().online_store
    assert online.rows(store.config).digest("fleet_window_v1") is None
    with pytest.raises(HandshakeError, match=r"\[N4\]"):
        online.online_read(store.config, first, [key("d0")])
    with repository.as_feast_warns():
        store.apply([first])
    found = repository.read(store, asked, ["d1", "d0"], full_feature_names=True).to_dict()
    assert found["window_v11__third"] == [6, 5]
    assert found["window_v1__first"] == [None, None]
