"""One poll, and what the state keeps of it: versions and a time that never go back."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from edge.agent.clock import TrustedClock
from edge.agent.config import Config
from edge.agent.fetch import Fetcher
from edge.agent.recover import transaction
from edge.agent.slots import Slots
from edge.agent.state import Floor, State
from edge.agent.trust import TRUST, Polled, poll

_HEARD = timedelta(minutes=15)


def ask(
    config: Config, slots: Slots, fetcher: Fetcher, system: Callable[[], datetime]
) -> tuple[Polled, State]:
    """Poll, and have the state know it.

    Args:
        config: The device's.
        slots: Its slots.
        fetcher: The connection to the channel.
        system: The system's clock.

    Returns:
        What was found, and the state since.

    Raises:
        DeliveryError: As `edge.agent.trust.poll`; U25 another process holds the state.
    """
    with transaction(slots) as held:
        state = held.state
    track = f"{config.track}/{config.ensemble}"
    clock = TrustedClock(state.clock_floor, system)
    floor = state.floor(track)
    polled = poll(config, slots.disk, fetcher, clock, floor.version, floor.keys)
    with transaction(slots) as held:
        after = heard(held.state, polled, track, clock.now())
        if not _worth(held.state, after):
            return polled, after
        # Before the state says so: a power cut must not bring back older metadata than it knows.
        slots.disk.sync(config.state / TRUST)
        return polled, held.commit(after)


def heard(state: State, polled: Polled, track: str, now: datetime) -> State:
    """The state after a good poll, which has refused what is older; no time goes back.

    Args:
        state: Before.
        polled: What was polled.
        track: `track/ensemble`.
        now: As the trusted clock tells.
    """
    times = [time for time in (state.clock_floor, polled.issued) if time is not None]
    return replace(
        state,
        floors={**state.floors, track: Floor(polled.version, polled.keys)},
        assigned=f"{track}@{polled.version}",
        clock_floor=max(times, default=None),
        polled=now,
    )


def _worth(before: State, after: State) -> bool:
    """Whether a poll changed what must outlive a power cut; flash is not worn for less."""
    if replace(after, polled=before.polled) != before or before.polled is None:
        return True
    return after.polled is None or abs(after.polled - before.polled) >= _HEARD
