"""One update, from poll to switch, whose only commit point is the state.

poll -> decide -> fetch parts -> assemble -> hold to manifest, handshake and lock -> self-test ->
switch. Until the switch the slot that runs is not touched, and until the new release has passed
every check the other slot is not either; a failure anywhere leaves the device as it was.
"""

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Literal

from edge.agent.asking import ask
from edge.agent.clock import utc_now
from edge.agent.config import Config
from edge.agent.decide import Keep, Refused, Step, Switch, decide, spare
from edge.agent.fetch import Fetcher
from edge.agent.limits import check_manifest
from edge.agent.lock import exclusive
from edge.agent.recover import transaction, writing
from edge.agent.scores import LOCK
from edge.agent.slots import Slots, hashed, slots_of
from edge.agent.state import Attempt, Name, Refusal, Slot, State
from edge.agent.trust import Offer, Polled
from edge.disk import Disk
from edge.verify import parse_manifest
from firnline.errors import DeliveryError, FirnlineError, HandshakeError

SelfTest = Callable[[Path], object]
"""Runs a release's own golden vectors through its own graphs; raises U22 when they differ."""

Whole = Callable[[Path, str], None]
"""Looks whether a slot is what its manifest, of that sha256, says; raises D1 to D8 when not."""

_Asking = Callable[[], tuple[Polled, State]]
_LOG = logging.getLogger("firnline.agent")
_OF_THE_RELEASE = frozenset({"D1", "D4", "D5", "D6", "D7", "D8", "D9", "U11", "U12", "U13", "U22"})
"""What a release itself is refused for: fetched again, it would fail again. Bytes that differ or
lack on this disk (D2, D3) are the disk's fault, since every part had its digest when it came."""


@dataclass(frozen=True)
class Outcome:
    """What a poll came to.

    Attributes:
        step: `kept` what runs is what is assigned, and whole; `unassigned` no wave has reached
            this device; `refused` the release was refused here before; `switched` to the other
            slot, which holds it; `installed` fetched, checked and switched to.
        offered: Digest of the release that is assigned; None where none is.
        slot: The slot that was switched to; None where nothing changed.
        received: Bytes of parts that were fetched.
        refusal: U23, with `refused`.
    """

    step: Literal["kept", "unassigned", "refused", "switched", "installed"]
    offered: str | None = None
    slot: Path | None = None
    received: int = 0
    refusal: DeliveryError | None = None


def update(
    config: Config,
    disk: Disk,
    fetcher: Fetcher,
    self_test: SelfTest,
    system: Callable[[], datetime] = utc_now,
    whole: Whole = hashed,
) -> Outcome:
    """Ask the channel once, and bring this device to what it assigns.

    Args:
        config: The device's.
        disk: What changes files.
        fetcher: The connection to the channel.
        self_test: What a release must pass before it is switched to.
        system: The system's clock, which is not believed below what the channel has signed.
        whole: How what runs is looked at where it is what is assigned: `slots.hashed`, or
            `slots.measured`, which reads no file.

    Raises:
        DeliveryError: U1 to U19 as `edge.agent.trust.poll`; U20 the disk is full; U22 the
            self-test differs; U25 another agent updates; U45 no self-test can be run; D1 to D9
            the release is not whole.
        HandshakeError: H0 to H8, its stages or features do not fit this device.
    """
    slots = slots_of(config, disk)
    with exclusive(config.state), writing(slots.folder):
        asking = partial(ask, config, slots, fetcher, system)

        def bring(again: _Asking | None) -> Outcome:
            polled, state = asking()
            if polled.offer is None:
                return Outcome("unassigned")
            made = _Update(config, slots, fetcher, self_test, whole, again, polled.offer)
            return made.run(state)

        try:
            return bring(asking)
        except DeliveryError as error:
            if error.code != "U47":
                raise
            _LOG.warning("%s", error)
        # Once: a channel that changes faster than a device fetches must not starve it.
        return bring(None)


@dataclass(frozen=True)
class _Update:
    """Bringing one offer onto the device; `again` asks whether it still stands, if anything may."""

    config: Config
    slots: Slots
    fetcher: Fetcher
    self_test: SelfTest
    whole: Whole
    again: _Asking | None
    offer: Offer

    def run(self, state: State) -> Outcome:
        step = self._decide(state)
        if isinstance(step, Switch) and self._switched(step.slot):
            return self._outcome("switched", step.slot)
        if isinstance(step, Switch):
            with transaction(self.slots) as held:
                step = self._decide(held.commit(held.state.without(step.slot)))
        match step:
            case Keep():
                return self._outcome("kept") if self._is_whole(state) else self._install()
            case Refused(refusal):
                return replace(self._outcome("refused"), refusal=self._refused(refusal))
            case _:
                return self._install()

    def _decide(self, state: State) -> Step:
        return decide(state, self.offer.release, self.offer.sha256, state.assigned)

    def _outcome(
        self,
        step: Literal["kept", "refused", "switched", "installed"],
        slot: Name | None = None,
        received: int = 0,
    ) -> Outcome:
        path = None if slot is None else self.slots.path(slot)
        return Outcome(step, self.offer.release, path, received)

    def _is_whole(self, state: State) -> bool:
        """Whether what runs still lies there; from its memory a service answers all the same."""
        if state.active is None or state.running is None:
            return False
        try:
            self.whole(self.slots.path(state.active), state.running.manifest)
        except DeliveryError as error:
            _LOG.warning("slot %s is laid out anew: %s", state.active, error)
            return False
        return True

    def _switched(self, name: Name) -> bool:
        """Run the other slot, if it is whole and passes its self-test."""
        try:
            self.slots.check(self.slots.path(name), self.offer.sha256)
            self._test(self.slots.path(name))
        except FirnlineError as error:
            if error.code == "U45":
                raise  # Nothing is known against the slot.
            return False
        with transaction(self.slots) as held:
            slot = held.state.slots.get(name)
            # A service that started meanwhile may have given it up.
            if slot is None or slot.manifest != self.offer.sha256:
                return False
            held.commit(replace(held.state, active=name, boots=0))
        return True

    def _install(self) -> Outcome:
        """Fetch, assemble, check, test, and switch."""
        before = self.fetcher.received
        try:
            self._prepare()
        except FirnlineError as error:
            self.slots.disk.remove(self.slots.next)
            self._gave_up(error)
            raise
        return self._outcome("installed", self._switch(), self.fetcher.received - before)

    def _prepare(self) -> None:
        """The release lies whole, checked and tested in `next`, or an error says why not."""
        document = parse_manifest(self.offer.manifest, self._where)
        check_manifest(document, self.offer, self.config.limits)
        begun, most = time.monotonic(), sum(document["bytes"].values())
        _LOG.info(
            "fetching what lacks of release %s, %s bytes", self.offer.release[:12], f"{most:,}"
        )
        try:
            self._gather(document["files"], document["bytes"])
        except DeliveryError as error:
            if error.code != "U20" or not self._made_room():
                raise
            self._gather(document["files"], document["bytes"])
        if self.again is not None and time.monotonic() - begun > self.config.poll_seconds:
            self._still_assigned(self.again)
        self._begin()
        self.slots.check(self.slots.next, self.offer.sha256)
        self._test(self.slots.next)

    def _still_assigned(self, again: _Asking) -> None:
        """See that what took longer to fetch than a period is still what the channel assigns."""
        offer = again()[0].offer
        if offer is None or offer.sha256 != self.offer.sha256:
            raise DeliveryError(
                "U47",
                found="another release was assigned while this one was fetched",
                where=self._where,
                mend="nothing to do: the device goes on with that one",
            )

    def _gather(self, files: dict[str, str], lengths: dict[str, int]) -> None:
        """Fetch what lacks, and lay it out."""
        with writing(self.slots.folder):
            for name, sha256 in files.items():
                self.slots.store.fetch(sha256, lengths[name], self.fetcher)
            self.slots.assemble(self.offer.manifest, files)

    def _made_room(self) -> bool:
        """Give up the release to roll back to, for the one that is to come; False without one."""
        with transaction(self.slots) as held:
            name = spare(held.state)
            if name not in held.state.slots or name == held.state.active:
                return False
            state = held.commit(held.state.without(name))
            self.slots.clean(state)
            return self.slots.sweep(state) > 0

    def _begin(self) -> None:
        """Note that checks begin: graphs are opened from here on, and one may end the process.

        Raises:
            DeliveryError: U22, they ended it too often.
        """
        with transaction(self.slots) as held:
            last, release = held.state.attempt, self.offer.release
            same = last is not None and (last.release, last.assignment) == (
                release,
                held.state.assigned,
            )
            begun = last.begun if last is not None and same else 0
            if begun >= self.config.health.max_boots:
                raise DeliveryError(
                    "U22",
                    found=f"the agent ended {begun} times while it tried this release",
                    where=self._where,
                    mend="look at the release on one device; it is not tried again until it is "
                    "assigned anew",
                )
            attempt = Attempt(release, held.state.assigned, begun + 1)
            held.commit(replace(held.state, attempt=attempt))

    def _test(self, folder: Path) -> None:
        """The self-test; whatever ends it is a release that does not run here."""
        try:
            self.self_test(folder)
        except FirnlineError:
            raise
        except Exception as error:  # ONNX Runtime raises several unrelated kinds.
            told = str(error).partition("\n")[0][:200]
            raise DeliveryError(
                "U22",
                found=f"the self-test ended with {type(error).__name__}: {told}",
                where=self._where,
                mend="look at the release on one device; this one keeps what it runs",
            ) from error

    def _switch(self) -> Name:
        """Move what was tested into the spare slot and run it, on trial.

        What is laid out anew because it was damaged takes its own place, and is believed as it was
        before: it has the same bytes. The state names it all the while, so that a service goes on
        answering with it from memory.

        Else the slot is first taken out of the state, so that the state never names one that is
        being written; a power cut between leaves what ran before, and an orphan that is cleaned up.
        Parts of what gave way go at once: nobody has to confirm for the disk not to fill up.
        """
        with transaction(self.slots) as held, writing(self.slots.folder):
            state, running = held.state, held.state.running
            if state.active and running and running.manifest == self.offer.sha256:
                name, confirmed = state.active, running.confirmed
            else:
                name, confirmed = spare(state), False
                state = held.commit(state.without(name))
            self.slots.adopt(name)
            slot = Slot(self.offer.release, self.offer.sha256, confirmed)
            refused = {key: item for key, item in state.refused.items() if key != slot.release}
            state = held.commit(
                replace(
                    state,
                    slots={**state.slots, name: slot},
                    active=name,
                    boots=0,
                    refused=refused,
                    attempt=None,
                )
            )
            with suppress(OSError):  # The switch is done; what is left goes with the next.
                self.slots.sweep(state)
                # A start must not need a new file: the disk may be full by then, or read-only.
                self.slots.disk.append(self.config.state / LOCK, b"")
            return name

    def _gave_up(self, error: FirnlineError) -> None:
        """Remember a release that cannot run here; give back the room that it took in vain."""
        its_own = isinstance(error, HandshakeError) or error.code in _OF_THE_RELEASE
        with transaction(self.slots) as held:
            state = replace(held.state, attempt=None)
            if its_own:
                refusal = Refusal(state.assigned, error.code, error.found[:200])
                state = state.refusing(self.offer.release, refusal)
            held.commit(state)
            if its_own or error.code == "U20":
                self.slots.sweep(state)

    def _refused(self, refusal: Refusal) -> DeliveryError:
        return DeliveryError(
            "U23",
            found=f"release {self.offer.release[:12]} was refused here before: [{refusal.code}] "
            f"{refusal.found}",
            where=refusal.assignment,
            mend="assign another release, or the same once more to have it tried again",
        )

    @property
    def _where(self) -> str:
        return f"release {self.offer.release[:12]} of {self.offer.ensemble}, {self.offer.target}"
