"""Why the last poll failed is kept for whoever asks, and flash is not worn by it."""

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest

from edge.agent.clock import utc_now
from edge.agent.last_poll import FILE, WORTH, LastPoll, noted, read
from edge.agent.status import status, text
from edge.disk import RealDisk
from firnline.errors import DeliveryError, FirnlineError
from tests.edge.agent.test_health import ReadOnly
from tests.edge.agent.units import Unit, unit

BEGAN = datetime(2036, 3, 1, 12, tzinfo=UTC)
LITTLE = timedelta(minutes=4)


@pytest.fixture
def device() -> Iterator[Unit]:
    with unit() as made:
        made.config.state.mkdir()
        yield made


def away(code: str = "U17", found: str = "no route") -> DeliveryError:
    return DeliveryError(code, found=found, where="https://channel.example", mend="see the network")


def polls(device: Unit, now: datetime, came_to: str | Exception) -> None:
    """A poll at a time, and what it came to."""
    with suppress(DeliveryError, ZeroDivisionError), noted(
        device.config, RealDisk(), lambda: now
    ) as note:  # fmt: skip
        if isinstance(came_to, Exception):
            raise came_to
        note.outcome = came_to


def kept(device: Unit) -> LastPoll:
    found = read(device.config.state)
    assert found is not None
    return found


def inode(device: Unit) -> int:
    return (device.config.state / FILE).stat().st_ino


def test_the_error_is_kept_whole_with_its_time(device: Unit) -> None:
    assert read(device.config.state) is None
    polls(device, BEGAN, away())
    found = kept(device)
    assert (found.at, found.since, found.outcome) == (BEGAN, BEGAN, "failed")
    assert found.error is not None
    assert {**away().document(), **vars(found.error)} == away().document()


def test_what_a_poll_raises_passes_as_it_is(device: Unit) -> None:
    error = away()
    with pytest.raises(FirnlineError) as caught, noted(device.config, RealDisk()):
        raise error
    assert caught.value is error


def test_a_failure_that_goes_on_is_written_each_quarter_of_an_hour(device: Unit) -> None:
    polls(device, BEGAN, away())
    first = inode(device)
    polls(device, BEGAN + LITTLE, away(found="still no route"))
    assert (kept(device).at, inode(device)) == (BEGAN, first)
    polls(device, BEGAN + WORTH, away(found="still no route"))
    assert (kept(device).at, kept(device).since) == (BEGAN + WORTH, BEGAN)
    polls(device, BEGAN + WORTH + LITTLE, away("U10"))
    assert kept(device).since == BEGAN + WORTH + LITTLE


def test_good_polls_are_written_once(device: Unit) -> None:
    polls(device, BEGAN, "installed")
    polls(device, BEGAN + LITTLE, "kept")
    once = inode(device)
    polls(device, BEGAN + 9 * WORTH, "kept")
    assert (kept(device).outcome, kept(device).at, inode(device)) == ("kept", BEGAN + LITTLE, once)
    polls(device, BEGAN + 10 * WORTH, away())
    polls(device, BEGAN + 10 * WORTH + LITTLE, "kept")
    assert (kept(device).error, kept(device).since) == (None, BEGAN + 10 * WORTH + LITTLE)


def test_another_agent_at_it_and_a_fault_of_its_own(device: Unit) -> None:
    polls(device, BEGAN, "kept")
    polls(device, BEGAN, away("U25"))
    assert kept(device).outcome == "kept"
    polls(device, BEGAN, ZeroDivisionError("division\nby zero"))
    error = kept(device).error
    assert error is not None
    assert (error.code, error.found) == ("", "ZeroDivisionError: division?by zero")


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"[" * 99_999, b'{"at": 1, "error": null}', b'{"error": {"code": 1}}', b"\xff",
     b'{"error": 3, "at": "2026-01-01T00:00:00Z", "since": "2026-01-01T00:00:00Z", "outcome": ""}'],
)  # fmt: skip
def test_what_cannot_be_read_tells_nothing_and_is_written_anew(
    device: Unit, content: bytes
) -> None:
    (device.config.state / FILE).write_bytes(content)
    assert read(device.config.state) is None
    polls(device, BEGAN, away())
    assert kept(device).error is not None


def test_a_disk_that_cannot_be_written_stops_nothing(device: Unit) -> None:
    with noted(device.config, ReadOnly()) as note:
        note.outcome = "kept"
    assert read(device.config.state) is None


def test_the_status_tells_why_and_since_when(device: Unit) -> None:
    device.settle()
    began = utc_now()
    now = began + timedelta(hours=3)
    polls(device, began, away())
    polls(device, now - timedelta(minutes=5), away(found="still no route"))
    found = status(device.config, now)
    told = found.document()["last_poll"]
    assert (told["outcome"], told["error"]["code"]) == ("failed", "U17")
    said = text(found, now)
    assert "outcome   failed, 5 min ago, like this for 3 h: [U17] still no route\n" in said
    assert "          where  https://channel.example\n          mend   see the network\n" in said
    polls(device, now, "kept")
    assert "outcome   kept, 0 s ago\n" in text(status(device.config, now), now)
    # Of the next that is as good the state has the time.
    assert device.pull(system=lambda: now + WORTH).step == "kept"
    found = status(device.config, now + WORTH)
    assert found.last_poll is not None
    assert (found.last_poll.at, found.last_poll.since) == (now + WORTH, now)


def test_a_poll_of_the_years_before_the_clock_was_set_is_not_dated_there(device: Unit) -> None:
    device.settle()
    polls(device, datetime(1970, 1, 1, tzinfo=UTC), away())
    assert kept(device).at == device.state.clock_floor


def test_what_a_clock_wrote_that_was_ahead_is_written_anew(device: Unit) -> None:
    polls(device, BEGAN + timedelta(days=900), "kept")
    polls(device, BEGAN, "kept")
    assert (kept(device).at, kept(device).since) == (BEGAN, BEGAN)
