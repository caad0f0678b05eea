"""What a device says of itself: read from its disk, whether or not its service runs."""

import fcntl
import json
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edge.agent.clock import SKEW
from edge.agent.config import Config
from edge.agent.last_poll import LastPoll
from edge.agent.last_poll import read as read_last_poll
from edge.agent.scores import FOLDER, LOCK, Summary, summary
from edge.agent.slots import FOLDER as SLOTS
from edge.agent.slots import measured
from edge.agent.state import State, load
from edge.agent.trust import TRUST
from firnline.errors import DeliveryError

_MOST_BYTES = 1 << 20


@dataclass(frozen=True)
class Status:
    """A device at one moment.

    Attributes:
        device: Its name.
        channel: Address of its channel.
        track: Its track.
        ensemble: What it runs.
        target: What it is.
        running: The service runs.
        slot: The active slot; None where nothing is installed.
        release: Digest of the release in it.
        confirmed: Whether that ran in good health.
        boots: Starts on trial.
        back: Digest of the release that `rollback` goes back to.
        assigned: `track/ensemble@version` of the last assignment seen.
        polled: Last good poll that was written down; a later one came less than 15 minutes after.
        last_poll: How the last poll went, and why it failed; None before the first.
        offline: No good poll for longer than the grace.
        clock_floor: Latest time that the channel has signed.
        clock_behind: The system's clock is wrong: it tells an earlier time than that.
        expires: Role -> end of its validity.
        refused: Release -> code and reason that it is not taken with.
        scores: The score log in figures.
        damage: What is wrong with the state, or with files of the active slot, which are measured
            and not read; empty where nothing is.
    """

    device: str
    channel: str
    track: str
    ensemble: str
    target: str
    running: bool
    slot: str | None
    release: str | None
    confirmed: bool
    boots: int
    back: str | None
    assigned: str
    polled: datetime | None
    last_poll: LastPoll | None
    offline: bool
    clock_floor: datetime | None
    clock_behind: bool
    expires: dict[str, str]
    refused: dict[str, str]
    scores: Summary
    damage: str

    @property
    def good(self) -> bool:
        """Whether it runs something, hears from its channel, and knows what time it is."""
        return self.release is not None and not (self.offline or self.clock_behind or self.damage)

    def document(self) -> dict[str, Any]:
        """As `--json` prints it."""
        made = asdict(self)
        for name in ("polled", "clock_floor"):
            made[name] = None if made[name] is None else made[name].isoformat()
        made["last_poll"] = None if self.last_poll is None else self.last_poll.document()
        return {**made, "good": self.good}


def status(config: Config, now: datetime) -> Status:
    """The device as it is; nothing is changed, and nothing is asked of the channel.

    Args:
        config: The device's.
        now: As the system's clock tells.
    """
    found, damage = load(config.state)
    state = found or State()
    floor, polled, running = state.clock_floor, state.polled, state.running
    told = now if floor is None else max(now, floor)
    silent = polled is None or (told - polled).total_seconds() > config.offline_grace_seconds
    return Status(
        device=config.device,
        channel=config.url,
        track=config.track,
        ensemble=config.ensemble,
        target=config.target,
        running=_runs(config.state),
        slot=state.active,
        release=None if running is None else running.release,
        confirmed=running is not None and running.confirmed,
        boots=state.boots,
        back=None if state.other is None else state.slots[state.other].release,
        assigned=state.assigned,
        polled=polled,
        last_poll=_last(config.state, polled),
        offline=silent,
        clock_floor=floor,
        clock_behind=floor is not None and floor - now > SKEW,
        expires=_expires(config.state / TRUST),
        refused={key: f"[{item.code}] {item.found}" for key, item in state.refused.items()},
        scores=summary(config.state / FOLDER),
        damage=_damage(config.state, state, damage),
    )


def text(found: Status, now: datetime) -> str:
    """A status for people: one line a fact."""
    if found.clock_floor is not None:
        now = max(now, found.clock_floor)
    scores, polled = found.scores, found.polled
    trial = "confirmed" if found.confirmed else f"on trial, start {found.boots}"
    release = f"{found.release[:12]}  {trial}" if found.release else "nothing is installed"
    # Not every poll is written down.
    heard = "never" if polled is None else f"at most {_age(now, polled)} ago"
    rows = [
        ("device", f"{found.device}  {found.target}"),
        ("channel", f"{found.channel}{_insecure(found.channel)}"),
        ("assigned", found.assigned or f"{found.track}/{found.ensemble}, not polled yet"),
        ("release", f"{release}{f', slot {found.slot}' if found.slot else ''}"),
        ("back to", found.back[:12] if found.back else "nothing"),
        ("service", "runs" if found.running else "does not run"),
        ("polled", f"{heard}{', offline for longer than its grace' if found.offline else ''}"),
        *_went(now, found.last_poll),
        ("clock", "behind the channel's signed time" if found.clock_behind else "not behind"),
        ("metadata", _ends(now, found.expires)),
        (
            "scores",
            f"{scores.next:,} answers, {scores.segments} segments to take, {scores.bytes:,} bytes, "
            f"{scores.dropped:,} dropped",
        ),
        *(("refused", f"{release[:12]}  {why}") for release, why in found.refused.items()),
        *([("damage", found.damage)] if found.damage else []),
    ]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


def _damage(folder: Path, state: State, damage: DeliveryError | None) -> str:
    try:
        if damage is None and state.active is not None and state.running is not None:
            measured(folder / SLOTS / state.active, state.running.manifest)
    except DeliveryError as error:
        return f"slot {state.active}: {error.found}; {error.mend}"
    return "" if damage is None else damage.found


def _last(folder: Path, polled: datetime | None) -> LastPoll | None:
    """How the last poll went; of good ones that ended alike the state has the time."""
    found = read_last_poll(folder)
    if found is None or found.error is not None or polled is None:
        return found
    return replace(found, at=max(found.at, polled))


def _went(now: datetime, last: LastPoll | None) -> list[tuple[str, str]]:
    """The lines on how the last poll went."""
    if last is None:
        return []
    ages = _age(now, last.at), _age(now, last.since)
    since = f", like this for {ages[1]}" if ages[0] != ages[1] else ""
    told = f"{last.outcome}, {ages[0]} ago{since}"
    error = last.error
    if error is None:
        return [("outcome", told)]
    return [
        ("outcome", f"{told}: [{error.code}] {error.found}"),
        ("", f"where  {error.where}"),
        ("", f"mend   {error.mend}"),
    ]


def _insecure(url: str) -> str:
    return "" if url.startswith("https://") else "  without TLS: whoever listens sees what it pulls"


def _ends(now: datetime, expires: dict[str, str]) -> str:
    """When the first role ends: from then on nothing new is believed."""
    if not expires:
        return "none yet"
    role, until = next(iter(expires.items()))
    left = datetime.fromisoformat(until)
    return f"{role} {f'ends in {_age(left, now)}' if left > now else 'has ended'}"


def _age(now: datetime, then: datetime) -> str:
    seconds = max(0.0, (now - then).total_seconds())
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _runs(folder: Path) -> bool:
    """Whether a service holds its lock; asked for in passing, so that none is kept from it."""
    try:
        with (folder / LOCK).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


def _expires(trust: Path) -> dict[str, str]:
    """Ends of validity as the trusted metadata tell, soonest first."""
    found = {}
    for path in trust.glob("*.json"):
        try:
            with path.open("rb") as file:
                until = json.loads(file.read(_MOST_BYTES))["signed"]["expires"]
            found[path.stem] = datetime.fromisoformat(until).astimezone(UTC).isoformat()
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            continue  # What a power cut tore is fetched anew by the next poll.
    return dict(sorted(found.items(), key=lambda item: item[1]))
