"""The state of a device in transactions: read or made anew, changed, committed."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge.agent.lock import exclusive
from edge.agent.slots import Slots
from edge.agent.space import unwritable
from edge.agent.state import State, load, save
from firnline.errors import DeliveryError, FirnlineError

_WAIT_SECONDS = 30.0


@contextmanager
def transaction(slots: Slots, *, lenient: bool = False) -> Iterator["Transaction"]:
    """The state while nobody else changes it; to be held shortly, never during a download.

    Args:
        slots: The device's slots.
        lenient: Go on with what was decided though it cannot be written: a device whose disk is
            full must still start, and still fall back.

    Raises:
        DeliveryError: U25, another process held it for half a minute.
    """
    with exclusive(slots.folder.parent, "state.lock", _WAIT_SECONDS):
        yield Transaction(slots, lenient=lenient)


@contextmanager
def writing(where: Path) -> Iterator[None]:
    """Changes on disk, whose failure is named.

    Raises:
        DeliveryError: U20 the disk is full, U21 it cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise unwritable(error, Path(error.filename or where)) from error


class Transaction:
    """The state of a device while its lock is held.

    Attributes:
        slots: The device's slots.
        state: What stands on the disk.
        problems: What was found wrong and mended on the way.
    """

    def __init__(self, slots: Slots, *, lenient: bool = False) -> None:
        self.slots = slots
        self.problems: list[FirnlineError] = []
        self._folder, self._lenient = slots.folder.parent, lenient
        found, damage = load(self._folder)
        if found is None:
            found, damage = self._anew(damage)
        self.state: State = found
        if damage is not None:
            self.problems.append(damage)
            self._save(found)

    def commit(self, state: State) -> State:
        """Write a state; from here on it counts.

        Raises:
            DeliveryError: U20 or U21, it cannot be written.
        """
        if state != self.state:
            self._save(state)
        self.state = state
        return state

    def _save(self, state: State) -> None:
        try:
            with writing(self._folder):
                save(self._folder, state, self.slots.disk)
        except DeliveryError as error:
            if not self._lenient:
                raise
            self.problems.append(error)

    def drop_broken(self) -> None:
        """Give up slots that are not whole; where it was the running one, the other runs."""
        state = self.state
        for name, slot in self.state.slots.items():
            try:
                self.slots.check(self.slots.path(name), slot.manifest)
            except FirnlineError as error:
                self.problems.append(error)
                state = state.without(name)
        self.commit(state)

    def _anew(self, damage: DeliveryError | None) -> tuple[State, DeliveryError | None]:
        """A state from the slots that are whole, for want of one.

        Only the slots come back: which releases were refused is forgotten, and how far the clock
        had come; old metadata is still refused by what lies in `trust/`.
        """
        slots = self.slots.found()
        if slots and damage is None:
            damage = DeliveryError(
                "U21",
                found="slots, but no state",
                where=str(self._folder),
                mend="nothing to do: it is made anew from the slots that are whole",
            )
        return State(slots=slots, active=next(iter(slots), None)), damage
