import numpy as np
import pytest

from firnline.sim.faults import FAULTS, NEUTRAL, Acting, levers
from firnline.sim.fleet import Episode, Fleet, FleetSpec
from firnline.sim.hours import WARM_UP_HOURS, advance, first_state
from firnline.sim.sensors import SENSORS

DEVICES, HOURS, ONSET = 64, 48, 6 * 60


def simulate(fault: str | None) -> dict[str, np.ndarray]:
    """48 hours of one chunk in which every device has the fault from the sixth hour on."""
    fleet = Fleet(FleetSpec(devices=DEVICES, days=3, fault_share=0.0, dirt=0.0))
    chunk = fleet.chunk(0)
    episodes = [
        Episode(i, ONSET, HOURS * 60, fault, 1.0, 0.25 if i % 2 else 0.75)
        for i in range(DEVICES)
        if fault
    ]
    state, blocks = first_state(chunk), []
    for hour in range(-WARM_UP_HOURS, HOURS):
        state, block = advance(fleet, chunk, state, hour, episodes)
        if hour >= 0:
            blocks.append(block)
    values = {name: np.concatenate([b.values[name] for b in blocks], axis=1) for name in SENSORS}
    values["lost"] = np.concatenate([b.missing.all(axis=0) for b in blocks], axis=1)
    values["on"] = values["current_compressor"] > (1.0)
    return values


@pytest.fixture(scope="session")
def without():
    return simulate(None)


@pytest.fixture(scope="session")
def with_fault():
    return {fault: simulate(fault) for fault in FAULTS}


def running_mean(values: dict[str, np.ndarray], name: str, hours: slice) -> np.ndarray:
    """Mean of a sensor while the compressor runs, by device."""
    minutes = slice(hours.start * 60, hours.stop * 60)
    on = values["on"][:, minutes]
    return (values[name][:, minutes] * on).sum(axis=1) / np.maximum(on.sum(axis=1), 1)


def all_mean(values: dict[str, np.ndarray], name: str, hours: slice) -> np.ndarray:
    return values[name][:, hours.start * 60 : hours.stop * 60].mean(axis=1)


LATE = slice(36, 48)

# Fault -> sensor -> by how much its running mean moves on the median device, from and to.
SIGNATURES = {
    "compressor_vibration_spike": {
        "vibration_compressor": (6.0, 12.0),
        "current_compressor": (2.5, 8.0),
    },
    "refrigerant_leak": {
        "pressure_low_side": (-350.0, -80.0),
        "superheat": (15.0, 45.0),
        "subcooling": (-9.0, -4.0),
        "temperature_evaporator": (5.0, 40.0),
    },
    "temperature_drift": {
        "temperature_evaporator": (6.0, 9.0),
        "pressure_low_side": (40.0, 200.0),
        "superheat": (-0.5, 0.5),
    },
    "condenser_fouling": {
        "temperature_condenser": (2.0, 15.0),
        "pressure_high_side": (80.0, 600.0),
        "current_compressor": (0.3, 3.0),
        "temperature_discharge": (3.0, 30.0),
    },
    "evaporator_fan_failure": {
        "pressure_low_side": (-120.0, -15.0),
        "superheat": (-5.0, -1.5),
        "temperature_evaporator": (-8.0, -1.5),
    },
    "slow_leak": {
        "subcooling": (-4.0, -1.5),
        "superheat": (1.0, 8.0),
        "pressure_low_side": (-80.0, -10.0),
    },
    "sensor_drift": {"superheat": (2.0, 8.0), "subcooling": (-0.2, 0.2)},
}


@pytest.mark.parametrize("fault", SIGNATURES)
def test_signature_against_the_same_devices_without_the_fault(fault, with_fault, without):
    for sensor, (lowest, highest) in SIGNATURES[fault].items():
        moved = np.median(
            running_mean(with_fault[fault], sensor, LATE) - running_mean(without, sensor, LATE)
        )
        assert lowest <= moved <= highest, f"{sensor} moved by {moved:.2f}"


@pytest.mark.parametrize("fault", FAULTS)
def test_nothing_happens_before_the_onset_or_to_unrelated_sensors(fault, with_fault, without):
    for sensor in SENSORS:
        np.testing.assert_array_equal(
            with_fault[fault][sensor][:, :ONSET], without[sensor][:, :ONSET]
        )
    for sensor in ("temperature_ambient", "humidity", "door_open_close"):
        np.testing.assert_array_equal(with_fault[fault][sensor], without[sensor])


@pytest.mark.parametrize(
    "fault", ["refrigerant_leak", "condenser_fouling", "evaporator_fan_failure", "slow_leak"]
)
def test_lost_capacity_makes_the_compressor_run_longer(fault, with_fault, without):
    longer = all_mean(with_fault[fault], "on", LATE) - all_mean(without, "on", LATE)
    assert np.median(longer) > 0.005


def test_fast_leak_follows_the_given_pressure_curve(with_fault, without):
    for hours_since in (10, 20):
        at = slice(6 + hours_since - 2, 6 + hours_since + 2)
        ratio = running_mean(with_fault["refrigerant_leak"], "pressure_low_side", at)
        ratio = ratio / running_mean(without, "pressure_low_side", at)
        # The box warms as cooling fails, which holds the pressure up a little.
        assert np.median(ratio) == pytest.approx(1 - 0.03 * hours_since, abs=0.22)


def test_stuck_probe_has_no_variance_and_leaves_the_machine_alone(with_fault, without):
    stuck = with_fault["sensor_failure"]
    assert (stuck["temperature_evaporator"][:, ONSET:] == -25.0).all()
    np.testing.assert_array_equal(stuck["temperature_suction"], without["temperature_suction"])


def test_dropout_loses_three_whole_readings_in_ten(with_fault, without):
    assert with_fault["intermittent_dropout"]["lost"][:, ONSET:].mean() == pytest.approx(
        0.3, abs=0.02
    )
    assert without["lost"].mean() < 1e-4


def test_hunting_swings_superheat_and_low_pressure(with_fault, without):
    def swing(values: dict[str, np.ndarray]) -> float:
        on = values["on"][:, ONSET:]
        return float(np.abs(np.diff(values["superheat"][:, ONSET:]))[on[:, 1:] & on[:, :-1]].mean())

    assert swing(with_fault["valve_hunting"]) > 2.5 * swing(without)


def test_short_cycles_last_two_to_five_minutes(with_fault):
    lengths = []
    for on in with_fault["short_cycling"]["on"][:, ONSET + 60 :]:
        edges = np.flatnonzero(np.diff(on.astype(int)))
        lengths.append(np.diff(edges)[on[edges[:-1] + 1]])
    assert 2 <= np.median(np.concatenate(lengths)) <= 5


def test_a_drifting_instrument_leaves_the_machine_alone(with_fault, without):
    drift = with_fault["sensor_drift"]
    np.testing.assert_array_equal(drift["on"], without["on"])
    suction = drift["temperature_suction"] - without["temperature_suction"]
    pressure = drift["pressure_low_side"] - without["pressure_low_side"]
    assert np.median(suction[1::2, -60:]) == pytest.approx(4.15, abs=0.2)
    assert (suction[0::2] == 0).all()
    assert np.median(pressure[0::2, -60:]) == pytest.approx(-37.0, abs=2)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_pulls_known_levers_alone_and_harder_with_severity(fault):
    hours = np.linspace(0, 30, 61, dtype=np.float32)
    mild, hard = (
        FAULTS[fault].apply(hours, np.float32(severity), np.float32(0.2)) for severity in (0.7, 1.3)
    )
    assert set(mild) <= set(NEUTRAL)
    for lever in mild:
        assert mild[lever].shape == hours.shape
        assert mild[lever].dtype == np.float32
        away_mild, away_hard = (
            np.abs(pulled[lever] - NEUTRAL[lever]).sum() for pulled in (mild, hard)
        )
        assert away_hard >= away_mild > 0


def test_levers_are_neutral_outside_the_episode():
    acting = Acting(2, "short_cycling", from_minute=-30, to_minute=20, severity=1.0, variant=0.0)
    band = levers([acting], 60, 4)["band"]
    assert (band[:20, 2] < 0.3).all()
    assert (band[20:, 2] == 1).all()
    assert (band[:, [0, 1, 3]] == 1).all()
