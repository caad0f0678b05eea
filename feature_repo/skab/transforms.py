"""SKAB's features: the last 30 seconds of each of eight sensors, once a reading."""

from typing import Any

import ibis

from firnline.contracts.features import WindowView

SENSORS = (
    "accelerometer_1_rms",
    "accelerometer_2_rms",
    "current",
    "pressure",
    "temperature",
    "thermocouple",
    "voltage",
    "volume_flow_rate_rms",
)
CODE_LETTERS = 32
CODE_PRIME = 16_777_213  # The largest prime below 2**24, so a code is exact in float32.

FEATURES = (
    *(f"{sensor}_mean" for sensor in SENSORS),
    *(f"{sensor}_std" for sensor in SENSORS),
    "rig_code",
)


def trailing(readings: Any, view: WindowView) -> Any:
    """Mean and sample standard deviation over the window that ends with each reading.

    Means and deviations carry their sensor's unit. `rig_code` is a number below 2**24 that
    stands for the rig, so that a model can hold values of each rig it was trained on.

    Args:
        readings: Ibis table of clean readings, one a second at most.
        view: The window, and the entity's key.

    Returns:
        Ibis table with the key, `window_start`, `window_end` (UTC) and `FEATURES`; one row a
        reading.
    """
    rows = readings.mutate(second=readings.timestamp_utc.epoch_seconds().cast("int64"))
    window = ibis.range_window(
        group_by=view.key,
        order_by="second",
        preceding=view.window_seconds - 1,
        following=0,
    )
    columns = {f"{name}_mean": rows[name].mean().over(window) for name in SENSORS}
    columns |= {f"{name}_std": rows[name].std(how="sample").over(window) for name in SENSORS}
    columns["rig_code"] = code(rows[view.key]).cast("float64")
    end = rows.second + 1
    return rows.select(
        rows[view.key],
        window_start=(end - view.window_seconds).as_timestamp("s"),
        window_end=end.as_timestamp("s"),
        **columns,
    )


def code(key: Any) -> Any:
    """A number for a text that every engine computes alike: its letters, weighed by place.

    Args:
        key: Ibis column of text.

    Returns:
        Ibis column of int64, 0 up to `CODE_PRIME`.
    """
    total = ibis.literal(0, "int64")
    for place in range(CODE_LETTERS):
        weight = (place + 1) * 31 ** (place % 6)
        total = total + key.substr(place, 1).ascii_str().cast("int64") * weight
    return total % CODE_PRIME


VIEWS = (
    WindowView(
        name="rig_window",
        version=1,
        entity="rig",
        key="rig_id",
        window_seconds=30,
        every_seconds=1,
        ttl_seconds=60,
        features=FEATURES,
        transform=trailing,
        partition="hour",
    ),
)
