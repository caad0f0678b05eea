"""Views of a tank's level: a good one, and some with one fault each."""

from dataclasses import replace

from firnline.contracts.features import WindowView


def level(readings, view):
    return _windows(readings, view, lambda rows: {"mean": rows.level.mean(), "std": _std(rows)})


def two_features(readings, view):
    return _windows(readings, view, lambda rows: {"mean": rows.level.mean()})


def no_such_sensor(readings, view):
    return _windows(readings, view, lambda rows: {"mean": rows.depth.mean(), "std": _std(rows)})


def divides(readings, view):
    def columns(rows):
        opened = rows.valve_open.cast("float64").sum()
        return {"mean": rows.level.mean() / (opened - opened), "std": _std(rows)}

    return _windows(readings, view, columns)


def each_reading(readings, view):
    start = readings.timestamp_utc.epoch_seconds() // view.every_seconds * view.every_seconds
    return readings.select(
        readings[view.key],
        window_start=start.as_timestamp("s"),
        window_end=(start + view.window_seconds).as_timestamp("s"),
        mean=readings.level,
        std=readings.level,
    )


def _std(rows):
    return rows.level.std()


def _windows(readings, view, columns):
    epoch = readings.timestamp_utc.epoch_seconds() // 1
    rows = readings.mutate(start=epoch // view.every_seconds * view.every_seconds)
    windows = rows.group_by(view.key, "start").aggregate(**columns(rows))
    return windows.select(
        windows[view.key],
        *(windows[name] for name in windows.columns if name not in (view.key, "start")),
        window_start=windows.start.as_timestamp("s"),
        window_end=(windows.start + view.window_seconds).as_timestamp("s"),
    )


_GOOD = WindowView(
    name="tank_window",
    version=1,
    entity="tank",
    key="tank_id",
    window_seconds=600,
    every_seconds=600,
    ttl_seconds=3600,
    features=("mean", "std"),
    transform=level,
)

VIEWS = (
    _GOOD,
    replace(_GOOD, version=2),
    replace(_GOOD, name="tank_hour", window_seconds=3600, every_seconds=3600),
    replace(_GOOD, name="valve_window", entity="valve"),
    replace(_GOOD, name="lacking_window", transform=two_features),
    replace(_GOOD, name="depth_window", transform=no_such_sensor),
    replace(_GOOD, name="endless_window", transform=divides),
    replace(_GOOD, name="twice_window", transform=each_reading),
    replace(_GOOD, name="lambda_window", transform=lambda readings, view: level(readings, view)),
)
