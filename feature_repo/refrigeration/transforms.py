"""The refrigeration fleet's 45 window features, once: an Ibis expression any engine can run."""

from typing import Any

import ibis

from firnline.contracts.features import WindowView

SENSOR_COUNT = 14
SECONDS_PER_MINUTE = 60.0

# Feature prefix -> sensor column and its aggregations, in feature order.
SENSORS: dict[str, tuple[str, tuple[str, ...]]] = {
    "temp_evaporator": ("temperature_evaporator", ("mean", "std", "min", "max", "slope")),
    "temp_condenser": ("temperature_condenser", ("mean", "std", "min", "max", "slope")),
    "temp_ambient": ("temperature_ambient", ("mean", "std")),
    "temp_discharge": ("temperature_discharge", ("mean", "std", "max")),
    "temp_suction": ("temperature_suction", ("mean", "std")),
    "pressure_high": ("pressure_high_side", ("mean", "std", "max")),
    "pressure_low": ("pressure_low_side", ("mean", "std", "min")),
    "current_compressor": ("current_compressor", ("mean", "std", "max")),
    "vibration": ("vibration_compressor", ("mean", "std", "max", "p95")),
    "humidity": ("humidity", ("mean", "std")),
    "superheat": ("superheat", ("mean", "std")),
    "subcooling": ("subcooling", ("mean", "std")),
}
FRACTIONS = {
    "door_open_fraction": "door_open_close",
    "defrost_active_fraction": "defrost_cycle",
}
RATIOS = (
    "pressure_ratio",
    "temp_spread_evap_cond",
    "temp_spread_discharge_suction",
    "current_per_temp_spread",
)
QUALITY = ("reading_count", "sensor_completeness", "quality_flag_count")
FEATURES = (
    *(f"{prefix}_{kind}" for prefix, (_, kinds) in SENSORS.items() for kind in kinds),
    *FRACTIONS,
    *RATIOS,
    *QUALITY,
)


def window_features(readings: Any, view: WindowView) -> Any:
    """One row a device and window with the 45 features, all float64.

    Temperatures are in degrees Celsius, pressures in kPa, current in A, vibration in mm/s,
    slopes in degrees Celsius a minute. A feature is null only where all its readings are.

    Args:
        readings: Ibis table of clean readings.
        view: The window to use, and the entity's key.

    Returns:
        Ibis table with the key, `window_start`, `window_end` (UTC) and `FEATURES`.
    """
    rows = assigned(readings, view)
    minutes = (rows.epoch - rows.start_epoch) / SECONDS_PER_MINUTE
    columns = {
        f"{prefix}_{kind}": aggregation(rows[sensor], minutes, kind)
        for prefix, (sensor, kinds) in SENSORS.items()
        for kind in kinds
    }
    columns |= {name: rows[flag].cast("int8").mean() for name, flag in FRACTIONS.items()}
    columns |= {
        "reading_count": rows.count().cast("float64"),
        "sensor_completeness": (1.0 - rows.sensor_null_count / SENSOR_COUNT).mean(),
        "quality_flag_count": (rows.quality_flags.length() > 0).cast("int8").sum().cast("float64"),
    }
    windows = crossed(rows.group_by(view.key, "start_epoch").aggregate(**columns))
    return windows.select(
        windows[view.key],
        window_start=windows.start_epoch.as_timestamp("s"),
        window_end=(windows.start_epoch + view.window_seconds).as_timestamp("s"),
        **{name: windows[name].cast("float64") for name in FEATURES},
    )


def assigned(readings: Any, view: WindowView) -> Any:
    """Readings with the epoch second their window starts at, a row for each window they are in."""
    # DuckDB's epoch_seconds carries a fraction, Spark's does not: whole seconds on both.
    epoch = readings.timestamp_utc.epoch_seconds() // 1
    bucket = epoch // view.every_seconds * view.every_seconds
    if view.window_seconds == view.every_seconds:
        return readings.mutate(epoch=epoch, start_epoch=bucket)
    steps = ibis.range(0, view.window_seconds, view.every_seconds).unnest()
    rows = readings.mutate(epoch=epoch, bucket=bucket, step=steps)
    return rows.mutate(start_epoch=rows.bucket - rows.step).drop("bucket", "step")


def aggregation(values: Any, minutes: Any, kind: str) -> Any:
    """One aggregation of a sensor: mean, std (sample), min, max, p95 (exact) or slope a minute."""
    if kind == "slope":
        # Least squares over the rows where both stand; one row, or one instant, has no slope.
        spread = minutes.var(where=values.notnull(), how="pop").nullif(0.0)
        return minutes.cov(values, how="pop") / spread
    if kind == "std":
        return values.std(how="sample")
    if kind == "p95":
        return values.quantile(0.95)
    return {"mean": values.mean, "min": values.min, "max": values.max}[kind]()


def crossed(windows: Any) -> Any:
    """The four features over several sensors; null where a divisor says nothing."""
    low = windows.pressure_low_mean
    spread = windows.temp_condenser_mean - windows.temp_evaporator_mean
    return windows.mutate(
        pressure_ratio=windows.pressure_high_mean / ibis.ifelse(low > 0, low, ibis.null("float64")),
        temp_spread_evap_cond=spread,
        temp_spread_discharge_suction=windows.temp_discharge_mean - windows.temp_suction_mean,
        current_per_temp_spread=windows.current_compressor_mean / spread.nullif(0.0),
    )


VIEWS = (
    WindowView(
        name="device_window",
        version=1,
        entity="device",
        key="device_id",
        window_seconds=900,
        every_seconds=900,
        ttl_seconds=3_600,
        features=FEATURES,
        transform=window_features,
    ),
    WindowView(
        name="device_hour",
        version=1,
        entity="device",
        key="device_id",
        window_seconds=3_600,
        every_seconds=3_600,
        ttl_seconds=7_200,
        features=FEATURES,
        transform=window_features,
    ),
)
