"""A device without the service: what `run --rows` does to a release on trial."""

import json
from dataclasses import replace

import pytest

from edge.agent.once import score
from edge.agent.scores import LOCK
from edge.disk import RealDisk
from tests.edge.agent import bundles
from tests.edge.agent.test_health import ReadOnly
from tests.edge.agent.test_service import failing
from tests.edge.agent.units import HEALTH, Unit, unit

GOOD = json.dumps({"row": [0.5, 1, 2, 0.25]}).encode()
NEGATIVE = json.dumps({"row": [-2, 0, 0, 0]}).encode()


@pytest.fixture
def device():
    with unit() as made:
        yield made


def run(device: Unit, *lines: bytes) -> list[dict]:
    return list(score(device.config, RealDisk(), lines))


def test_a_release_is_confirmed_by_the_rows_it_answers(device: Unit) -> None:
    device.configure(health=replace(HEALTH, confirm_answers=3, confirm_seconds=300.0))
    made = device.release()
    device.pull()
    for _ in range(HEALTH.max_boots + 2):
        assert run(device, GOOD, GOOD)[0]["release"] == made.release
    assert (device.state.on_trial, device.state.boots) == (True, 0)
    run(device, GOOD, b"no row", GOOD, GOOD)
    assert not device.state.on_trial


def test_rows_are_answered_where_nothing_can_be_written(
    device: Unit, caplog: pytest.LogCaptureFixture
) -> None:
    device.release()
    device.pull()
    assert (device.config.state / LOCK).is_file()
    found = list(score(device.config, ReadOnly(), [GOOD, GOOD]))
    assert [set(answer) & {"answer", "error"} for answer in found] == [{"answer"}, {"answer"}]
    assert "Read-only file system" in caplog.text
    assert device.state.on_trial


def test_a_release_that_fails_rows_gives_way_to_the_one_before(device: Unit) -> None:
    good = device.settle()
    bad = failing(device.home / "bad")
    device.channel.publish(bad)
    device.pull()
    found = run(device, *[NEGATIVE] * 64, NEGATIVE)
    assert {answer["error"]["code"] for answer in found[:64]} == {"U33"}
    assert found[64]["release"] == device.runs == good.release
    assert device.pull().step == "refused"


def test_a_release_that_ends_the_process_is_given_up(device: Unit) -> None:
    good = device.settle()
    bad = device.release(classifier=2)
    device.pull()
    for _ in range(HEALTH.max_boots):
        assert device.start().release == bad.release  # And the process is killed.
    assert run(device, GOOD)[0]["release"] == good.release


def test_a_device_that_confirms_nothing_takes_every_update_and_keeps_two(device: Unit) -> None:
    made: list[bundles.Made] = []
    for number in range(4):
        made.append(device.release(encoder=1 + number, classifier=1 + number))
        assert device.pull().step == "installed"
        assert device.runs == made[-1].release
        assert device.state.on_trial
    needed = {digest for one in made[-2:] for digest in one.document["files"].values()}
    parts = {path.name for path in (device.config.state / "parts").glob("*/*")}
    assert parts == needed
