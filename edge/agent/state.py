"""What a device knows between two starts: its slots, and what it will not take back.

state.json is the one commit point of every change. It names a slot only once that slot is whole,
carries a digest of itself, and lies there twice, so that a worn cell of flash costs neither the
slots nor the protection against old releases.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from edge.disk import Disk
from firnline.contracts.places import sha256
from firnline.digest import canonical_json, digest
from firnline.errors import DeliveryError

FORMAT = "firnline-agent-state/1"
FILES = ("state.json", "state.json.1")
"""The state and its copy; the first that is whole counts."""
_MOST_BYTES = 1 << 20
_MOST_REFUSED = 64

Name = Literal["a", "b"]
NAMES: tuple[Name, Name] = ("a", "b")


@dataclass(frozen=True)
class Slot:
    """What a slot holds.

    Attributes:
        release: Digest of the release.
        manifest: sha256 of its bundle.json, which the channel has signed; it binds every file.
        confirmed: Whether it ran in good health; until then it is on trial.
    """

    release: str
    manifest: str
    confirmed: bool = False


@dataclass(frozen=True)
class Refusal:
    """A release that this device does not take again under the same assignment.

    Attributes:
        assignment: `track/ensemble@version` that offered it.
        code: Of the error that it was refused with.
        found: What was found.
    """

    assignment: str
    code: str
    found: str


@dataclass(frozen=True)
class Attempt:
    """A release that is being tried; what is still here at the next try ended with the process.

    Attributes:
        release: Digest of the release.
        assignment: `track/ensemble@version` that offered it.
        begun: How often it was begun.
    """

    release: str
    assignment: str
    begun: int


@dataclass(frozen=True)
class Floor:
    """The assignment that was seen last; none older is taken.

    Attributes:
        version: Its version.
        keys: Digest of the keys of the track's role it was signed under. Under other keys it
            counts no more: whoever stole the ones before may have signed the highest there is.
    """

    version: int
    keys: str = ""


@dataclass(frozen=True)
class State:
    """What a device knows between two starts.

    Attributes:
        slots: Slot -> what lies in it; one that is being written is not named.
        active: The slot that runs; None where nothing does.
        boots: Starts of the service while the active slot is on trial.
        refused: Release -> why it is not taken.
        attempt: The release whose checks have begun and not ended.
        assigned: `track/ensemble@version` of the last good poll.
        floors: `track/ensemble` -> the assignment that was seen last.
        clock_floor: Latest time that the channel has signed; no clock is believed below it.
        polled: Last good poll, as the clock then told.
    """

    slots: Mapping[Name, Slot] = field(default_factory=dict)
    active: Name | None = None
    boots: int = 0
    refused: Mapping[str, Refusal] = field(default_factory=dict)
    attempt: Attempt | None = None
    assigned: str = ""
    floors: Mapping[str, Floor] = field(default_factory=dict)
    clock_floor: datetime | None = None
    polled: datetime | None = None

    def floor(self, track: str) -> Floor:
        """The assignment of `track/ensemble` that was seen last; version 0 where none was."""
        return self.floors.get(track, Floor(0))

    @property
    def running(self) -> Slot | None:
        """What runs."""
        return None if self.active is None else self.slots[self.active]

    @property
    def other(self) -> Name | None:
        """The slot that does not run and holds a release: what there is to go back to."""
        return next((name for name in NAMES if name in self.slots and name != self.active), None)

    @property
    def on_trial(self) -> bool:
        """Whether what runs is not confirmed yet."""
        return self.running is not None and not self.running.confirmed

    def without(self, name: Name) -> "State":
        """The state once a slot is given up; where it ran, the other one runs, if there is one."""
        slots = {key: slot for key, slot in self.slots.items() if key != name}
        if self.active != name:
            return replace(self, slots=slots)
        return replace(self, slots=slots, active=next(iter(slots), None), boots=0)

    def refusing(self, release: str, refusal: Refusal) -> "State":
        """The state with a release refused; of very many, the oldest are forgotten."""
        kept = [(key, value) for key, value in self.refused.items() if key != release]
        return replace(self, refused=dict([*kept, (release, refusal)][-_MOST_REFUSED:]))


def load(folder: Path) -> tuple[State | None, DeliveryError | None]:
    """The state as it lies in a folder.

    Args:
        folder: The agent's state folder.

    Returns:
        The state, from its copy where the first is damaged, and None where neither is whole; and
        U21 when something is damaged. Nothing there at all is no damage.
    """
    damage: DeliveryError | None = None
    for name in FILES:
        try:
            with (folder / name).open("rb") as file:
                return parse(file.read(_MOST_BYTES), str(folder / name)), damage
        except FileNotFoundError:
            continue
        except OSError as error:
            damage = damage or _damaged(str(error.strerror), str(folder / name), error)
        except DeliveryError as error:
            damage = damage or error
    return None, damage


def save(folder: Path, state: State, disk: Disk) -> None:
    """Write the state; once the first file is renamed, it counts.

    Raises:
        OSError: The disk is full or broken; the state before still stands.
    """
    content = render(state)
    for name in FILES:
        disk.write(folder / name, content, 0o600)


def render(state: State) -> bytes:
    """The state as canonical JSON with its own digest."""
    body = {"format": FORMAT, **asdict(state)}
    # A list and not an object: its order tells which refusal is oldest.
    body["refused"] = [[release, asdict(item)] for release, item in state.refused.items()]
    for name in ("clock_floor", "polled"):
        body[name] = None if body[name] is None else body[name].isoformat()
    return f"{canonical_json({**body, 'digest': digest(body)})}\n".encode()


def parse(content: bytes, where: str) -> State:
    """A state from its bytes.

    Args:
        content: As `render` made them.
        where: What they were read from, for the error.

    Raises:
        DeliveryError: U21, they are damaged.
    """
    try:
        found = json.loads(content)
        named = found.pop("digest")
        if found["format"] != FORMAT:
            raise ValueError(f"format {str(found['format'])[:40]!r}, not {FORMAT!r}")
        if named != digest(found):
            raise ValueError("it does not have the digest it names")
        return _of_document(found)
    # A time zone may lead out of the years there are, which is an overflow.
    except (
        ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError,
    ) as error:  # fmt: skip
        raise _damaged(f"{type(error).__name__}: {str(error)[:200]}", where, error) from error
    except DeliveryError as error:
        raise _damaged(error.found, where, error) from error


def _of_document(found: dict[str, Any]) -> State:
    slots: dict[Name, Slot] = {}
    for name in NAMES:
        if name in found["slots"]:
            slot = Slot(**found["slots"][name])
            slots[name] = replace(
                slot, release=sha256(slot.release), manifest=sha256(slot.manifest)
            )
    active = found["active"]
    if active is not None and active not in slots:
        raise ValueError(f"slot {str(active)[:40]!r} runs, but holds nothing")
    return State(
        slots=slots,
        active=active,
        boots=int(found["boots"]),
        refused={sha256(release): Refusal(**item) for release, item in found["refused"]},
        attempt=None if found["attempt"] is None else Attempt(**found["attempt"]),
        assigned=str(found["assigned"]),
        floors={str(name): Floor(**floor) for name, floor in found["floors"].items()},
        clock_floor=_time(found["clock_floor"]),
        polled=_time(found["polled"]),
    )


def _time(value: str | None) -> datetime | None:
    return None if value is None else datetime.fromisoformat(value).astimezone(UTC)


def _damaged(found: str, where: str, error: BaseException) -> DeliveryError:
    made = DeliveryError(
        "U21",
        found=f"a damaged state: {found}",
        where=where,
        mend="nothing to do: it is made anew from its copy or the slots that are whole; where it "
        "comes again, look at the device's flash",
    )
    made.__cause__ = error
    return made
