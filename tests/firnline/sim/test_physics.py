import dataclasses

import numpy as np
import pytest

from firnline.sim import saturation
from firnline.sim.faults import levers
from firnline.sim.fleet import Fleet, FleetSpec
from firnline.sim.hours import hours
from firnline.sim.machine import EVAPORATING, settle
from firnline.sim.physics import Forcing, run
from firnline.sim.sensors import NOISE_ROWS, RANGES, SENSORS, observe


def runs(on: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lengths in minutes of the whole on and off runs of one device."""
    edges = np.flatnonzero(np.diff(on.astype(int)))
    lengths, state = np.diff(edges), on[edges[:-1] + 1]
    return lengths[state], lengths[~state]


@pytest.mark.parametrize("season", ["healthy", "healthy_summer"])
def test_every_healthy_reading_is_inside_its_hard_range(season, request):
    week = request.getfixturevalue(season)
    for name, (lowest, highest) in RANGES.items():
        assert week.values[name].min() >= lowest, name
        assert week.values[name].max() <= highest, name


def test_superheat_is_suction_minus_dew_temperature_at_the_low_pressure(healthy):
    for row, device in enumerate(healthy.chunk.devices):
        dew = saturation.dew_temperature(
            device.refrigerant, healthy.values["pressure_low_side"][row]
        )
        expected = healthy.values["temperature_suction"][row] - dew
        np.testing.assert_allclose(healthy.values["superheat"][row], expected, atol=0.0511)


def test_subcooling_is_bubble_temperature_at_the_high_pressure_minus_liquid_line():
    chunk = Fleet(FleetSpec(devices=64, fault_share=0.0)).chunk(0)
    ambient = np.full((60, 64), 18.0, dtype=np.float32)
    forcing = Forcing(ambient, np.zeros_like(ambient), np.zeros(64, dtype=np.float32))
    neutral = levers((), 60, 64)
    _, trace = run(chunk.plant, settle(chunk.plant, chunk.phase), forcing, neutral)
    noise = np.random.default_rng(3).integers(0, 65536, (NOISE_ROWS, 64, 60), dtype=np.uint16)
    closed = np.zeros((60, 64), dtype=np.bool_)
    seen = observe(chunk.plant, trace, ambient, ambient, closed, neutral, noise)
    for row, device in enumerate(chunk.devices):
        bubble = saturation.bubble_temperature(
            device.refrigerant, seen.values["pressure_high_side"][row]
        )
        expected = bubble - seen.liquid_line_c[row]
        np.testing.assert_allclose(seen.values["subcooling"][row], expected, atol=0.0511)


def test_condensing_temperature_and_pressure_are_tied(healthy):
    for row, device in enumerate(healthy.chunk.devices):
        kpa = healthy.values["pressure_high_side"][row]
        middle = (
            saturation.dew_temperature(device.refrigerant, kpa)
            + saturation.bubble_temperature(device.refrigerant, kpa)
        ) / 2
        assert np.abs(healthy.values["temperature_condenser"][row] - middle).max() < 1.2


def test_cohorts_keep_their_temperature_and_draw_by_horsepower(healthy):
    mean = healthy.values["temperature_evaporator"].mean(axis=1)
    assert mean[healthy.freezers].mean() == pytest.approx(-20, abs=1.5)
    assert mean[~healthy.freezers].mean() == pytest.approx(-4, abs=2.0)
    current = healthy.values["current_compressor"]
    for horsepower, amperes in ((2, 6.0), (5, 15.0)):
        rows = [d.horsepower == horsepower for d in healthy.chunk.devices]
        drawn = current[rows]
        assert drawn[drawn > 1].mean() == pytest.approx(amperes, rel=0.12)


def test_compressors_run_ten_to_thirty_minutes_and_rest_between(healthy):
    on = healthy.values["current_compressor"] > 1
    lengths = [runs(device) for device in on]
    on_minutes = np.concatenate([length[0] for length in lengths])
    off_minutes = np.concatenate([length[1] for length in lengths])
    assert 14 <= np.median(on_minutes) <= 24
    # Defrosts cut a few runs short and make the one after them long.
    assert np.mean(on_minutes < 10) < 0.05
    assert np.mean(on_minutes > 35) < 0.08
    assert off_minutes.min() >= 5
    duty = on.mean(axis=1)
    assert duty.min() > 0.3
    assert duty.max() < 0.8


def test_defrosts_come_every_four_to_twelve_hours_mostly_six_to_eight(healthy):
    defrost = healthy.values["defrost_cycle"]
    starts = [np.flatnonzero(np.diff(row.astype(int)) == 1) for row in defrost]
    intervals = np.concatenate([np.diff(at) for at in starts]) / 60
    assert intervals.min() > 3.5
    assert intervals.max() < 13
    assert np.mean((intervals >= 5.9) & (intervals <= 8.7)) > 0.6
    assert 0.03 < defrost.mean() < 0.08
    on = healthy.values["current_compressor"] > 1
    assert not (on & defrost).any()


def test_doors_open_about_one_minute_in_twenty(healthy):
    assert 0.02 < healthy.values["door_open_close"].mean() < 0.08


def test_ambient_follows_season_hemisphere_and_hour(healthy, healthy_summer):
    region = np.array([device.region for device in healthy.chunk.devices])
    winter = healthy.values["temperature_ambient"].mean(axis=1)
    summer = healthy_summer.values["temperature_ambient"].mean(axis=1)
    north, south = region == "EU-N", region == "AP-S"
    assert (summer[north] - winter[north]).min() > 3
    assert (summer[south] - winter[south]).max() < -1
    by_hour = healthy.values["temperature_ambient"][north].reshape(north.sum(), 3, 24, 60)
    by_hour = by_hour.mean(axis=(0, 1, 3))
    assert 12 <= by_hour.argmax() <= 16


def test_readings_are_at_the_resolution_of_the_sensors(healthy):
    for name in SENSORS:
        values = healthy.values[name]
        if values.dtype == np.float32:
            np.testing.assert_allclose(values * 20, np.rint(values * 20), atol=2e-3)


def test_the_split_of_time_into_blocks_does_not_matter():
    chunk = Fleet(FleetSpec(devices=32)).chunk(0)
    random = np.random.default_rng(5)
    ambient = random.uniform(5, 25, (60, 32)).astype(np.float32)
    heat = random.normal(0, 0.02, (60, 32)).astype(np.float32)
    forcing = Forcing(ambient, heat, np.zeros(32, dtype=np.float32))
    first = settle(chunk.plant, chunk.phase)
    whole_state, whole = run(chunk.plant, first, forcing, levers((), 60, 32))
    state, parts = first, []
    for half in (slice(0, 23), slice(23, 60)):
        piece = dataclasses.replace(forcing, ambient_c=ambient[half], heat_k_per_minute=heat[half])
        state, trace = run(chunk.plant, state, piece, levers((), len(ambient[half]), 32))
        parts.append(trace)
    np.testing.assert_array_equal(whole.cycle, np.concatenate([p.cycle for p in parts]))
    np.testing.assert_array_equal(whole.followers, np.concatenate([p.followers for p in parts]))
    np.testing.assert_array_equal(whole_state.on, state.on)
    np.testing.assert_array_equal(whole_state.to_defrost_minutes, state.to_defrost_minutes)


def test_more_heat_makes_longer_runs_and_a_hotter_condenser():
    chunk = Fleet(FleetSpec(devices=64)).chunk(0)
    duty, pressure = [], []
    for celsius in (15.0, 38.0):
        ambient = np.full((240, 64), celsius, dtype=np.float32)
        forcing = Forcing(ambient, np.zeros_like(ambient), np.zeros(64, dtype=np.float32))
        _, trace = run(chunk.plant, settle(chunk.plant, chunk.phase), forcing, levers((), 240, 64))
        duty.append(trace.on.mean())
        pressure.append(trace.cycle[:, 1].mean())
        assert (trace.cycle[:, EVAPORATING] <= 4.0).all()
    assert duty[1] > duty[0]
    assert pressure[1] > pressure[0] + 8


def test_every_healthy_device_reports_by_its_firmware(healthy):
    lost = healthy.missing.mean(axis=2)
    for column, device in enumerate(healthy.chunk.devices):
        for row, name in enumerate(SENSORS):
            if name in device.sensors:
                assert lost[row, column] < 0.03
            else:
                assert lost[row, column] == 1.0
    expected = ~healthy.chunk.lacking
    assert 0.002 < lost[expected].mean() < 0.02


def test_a_shorter_run_is_the_start_of_a_longer_one():
    spec = FleetSpec(devices=5, days=1)
    short = list(hours(Fleet(spec), 0))
    longer = hours(Fleet(dataclasses.replace(spec, days=2)), 0)
    for one, other in zip(short, longer, strict=False):
        for name in SENSORS:
            np.testing.assert_array_equal(one.values[name], other.values[name])
