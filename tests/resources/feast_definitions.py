"""The definitions of a small Feast repository: one version is published, and others rest on it.

Tests apply this file, and then this file with a line of it changed.
"""

from datetime import timedelta

import pandas as pd
from feast import (
    Entity,
    FeatureService,
    FeatureView,
    Field,
    FileSource,
    RequestSource,
    ValueType,
)
from feast.batch_feature_view import batch_feature_view
from feast.data_format import ParquetFormat
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Float32, Float64, String

OFFSET = 273.15

device = Entity(name="device", join_keys=["device_id"], value_type=ValueType.STRING)
rig = Entity(name="rig", join_keys=["rig_id"], value_type=ValueType.STRING)

window_source = FileSource(
    name="window_v1",
    path="firnline://window_v1",
    timestamp_field="window_end",
    file_format=ParquetFormat(),
)
window = FeatureView(
    name="window_v1",
    entities=[device],
    ttl=timedelta(hours=1),
    schema=[
        Field(name="device_id", dtype=String),
        Field(name="mean", dtype=Float64),
        Field(name="slope", dtype=Float64),
        Field(name="load", dtype=Float32),
    ],
    source=window_source,
    tags={"reference": "window@v1", "digest": "DIGEST"},
)

cooked_source = FileSource(
    name="cooked", path="firnline://cooked", timestamp_field="time", file_format=ParquetFormat()
)


FACTOR = 2


def warmer(heat):
    return heat * FACTOR


@batch_feature_view(
    entities=[device],
    ttl=timedelta(days=1),
    mode="pandas",
    schema=[Field(name="device_id", dtype=String), Field(name="heat", dtype=Float64)],
    source=cooked_source,
)
def cooked(frame: pd.DataFrame) -> pd.DataFrame:
    frame["heat"] = warmer(frame["heat"])
    return frame


asked = RequestSource(name="asked", schema=[Field(name="scale", dtype=Float64)])


def kelvins(celsius):
    return celsius + OFFSET


@on_demand_feature_view(sources=[window, asked], schema=[Field(name="kelvin", dtype=Float64)])
def kelvin(inputs: pd.DataFrame) -> pd.DataFrame:
    out = pd.DataFrame()
    out["kelvin"] = kelvins(inputs["mean"]) * inputs["scale"]
    return out


encoder = FeatureService(name="encoder", features=[window[["mean", "slope"]], kelvin])
classifier = FeatureService(name="classifier", features=[window, cooked])
