import dataclasses
from collections import Counter
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firnline.errors import ContractError
from firnline.sim.faults import FAULTS
from firnline.sim.fleet import WEEK_MINUTES, Fleet, FleetSpec
from firnline.sim.hours import advance, first_state
from firnline.sim.registry import expected_sensors
from firnline.sim.sensors import SENSORS
from firnline.sim.streams import CHUNK, Purpose, bits, normal, stream


def blocks(devices: int, hours: int, chunk: int = 0, **more):
    fleet = Fleet(FleetSpec(devices=devices, days=1, dirt=0.01, **more))
    drawn = fleet.chunk(chunk)
    state = first_state(drawn)
    for hour in range(hours):
        state, block = advance(fleet, drawn, state, hour, fleet.episodes(chunk, 0))
        yield block


def test_the_first_devices_of_a_large_fleet_are_the_small_fleet():
    for small, large in zip(blocks(10, 6), blocks(200, 6), strict=True):
        for name in SENSORS:
            np.testing.assert_array_equal(small.values[name], large.values[name][:10])
        np.testing.assert_array_equal(small.missing, large.missing[:, :10])
        np.testing.assert_array_equal(small.latency_tenths, large.latency_tenths[:10])
        for kind, rows in small.dirt.rows.items():
            np.testing.assert_array_equal(rows, [r for r in large.dirt.rows[kind] if r < 600])


def test_registry_and_episodes_of_a_small_fleet_start_those_of_a_large_one():
    small, large = (Fleet(FleetSpec(devices=n, days=14)) for n in (300, 700))
    assert list(small.devices()) == list(large.devices())[:300]
    for week in (0, 1):
        for chunk in (0, 1):
            mine = small.episodes(chunk, week)
            assert mine == [e for e in large.episodes(chunk, week) if e.index < 300]


def test_neighbouring_chunks_and_other_seeds_differ():
    first, second = (next(blocks(600, 1, chunk=n)) for n in (0, 1))
    other = next(blocks(600, 1, seed=7))
    for one in (second, other):
        assert (first.values["humidity"] != one.values["humidity"]).mean() > 0.9


def test_device_ids_name_region_and_index():
    devices = list(Fleet(FleetSpec(devices=CHUNK + 3)).devices())
    assert len({device.device_id for device in devices}) == CHUNK + 3
    for index, device in enumerate(devices):
        assert device.device_id == f"REF-{device.region}-{index:08d}"
    assert {d.cohort for d in devices} == {"walk_in_freezer", "display_case"}
    assert {d.horsepower for d in devices} == {2, 3, 4, 5}


@pytest.mark.parametrize(
    ("firmware", "region", "missing"),
    [
        ("2.4.1", "EU-N", {"vibration_compressor", "subcooling"}),
        ("3.0.0", "EU-N", {"subcooling"}),
        ("3.4.9", "US-W", {"subcooling"}),
        ("3.5.0", "US-W", set()),
        ("4.0.2", "AP-S", set()),
        ("3.1.2", "AP-S", {"subcooling", "humidity"}),
    ],
)
def test_firmware_decides_what_is_reported(firmware, region, missing):
    assert set(SENSORS) - set(expected_sensors(firmware, region)) == missing


@pytest.mark.parametrize("seed", [42, 1, 2026])
def test_a_quarter_of_the_demo_is_faulty_and_every_fault_hits_several_devices(seed):
    episodes = Fleet(FleetSpec(seed=seed)).episodes(0, 0)
    assert 0.25 <= len(episodes) / 200 <= 0.31
    count = Counter(episode.fault for episode in episodes)
    assert set(count) == set(FAULTS)
    assert min(count.values()) >= 3
    half = WEEK_MINUTES // 2
    assert sum(e.start_minute < half for e in episodes) >= 10
    assert sum(e.end_minute > half for e in episodes) >= 10


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**63 - 1), st.integers(1, 400), st.integers(1, 30), st.floats(0.01, 1.0))
def test_episodes_lie_in_the_period_and_one_device_has_one_at_a_time(seed, devices, days, share):
    fleet = Fleet(FleetSpec(devices=devices, days=days, seed=seed, fault_share=share))
    until: dict[int, int] = {}
    for week in range(-(-days // 7)):
        for chunk in range(fleet.chunks):
            for episode in fleet.episodes(chunk, week):
                assert 0 <= episode.index < devices
                assert until.get(episode.index, 0) <= episode.start_minute < episode.end_minute
                assert episode.end_minute <= days * 1440
                assert 0.7 <= episode.severity <= 1.3
                until[episode.index] = episode.end_minute


@pytest.mark.parametrize(
    "wrong",
    [
        {"devices": 0},
        {"days": 0},
        {"seed": -1},
        {"fault_share": 1.5},
        {"dirt": 0.5},
        {"start": datetime(2026, 2, 2, 1, tzinfo=UTC)},
        {"start": datetime(2026, 2, 2, tzinfo=timezone(timedelta(hours=2)))},
        {"start": datetime(2026, 2, 2)},  # noqa: DTZ001
    ],
)
def test_a_spec_out_of_range_is_refused_by_name(wrong):
    with pytest.raises(ContractError, match=next(iter(wrong))) as refusal:
        FleetSpec(**wrong)
    assert refusal.value.code == "SIM1"


def test_a_spec_is_a_value():
    assert FleetSpec() == FleetSpec(devices=200, days=7)
    assert dataclasses.replace(FleetSpec(), days=3).end == datetime(2026, 2, 5, tzinfo=UTC)


def test_streams_are_a_function_of_their_four_numbers():
    draws = {
        (seed, purpose, chunk, tick): int(stream(seed, purpose, chunk, tick).integers(1 << 62))
        for seed in (0, 1)
        for purpose in (Purpose.SENSOR, Purpose.GAP)
        for chunk in (0, 1)
        for tick in (0, 1)
    }
    assert len(set(draws.values())) == len(draws)
    assert draws == {key: int(stream(*key).integers(1 << 62)) for key in draws}


def test_normals_are_standard_and_bounded():
    drawn = normal(bits(stream(1, Purpose.SENSOR, 0, 0), (200_000,))).astype(float)
    assert drawn.mean() == pytest.approx(0, abs=0.01)
    assert drawn.std() == pytest.approx(1, abs=0.01)
    assert np.abs(drawn).max() < 3.8
