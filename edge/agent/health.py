"""Whether what runs is believed: counted starts, confirmation, and the way back."""

import os
import signal
import subprocess
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from edge.agent.config import Config, Health
from edge.agent.lock import exclusive
from edge.agent.recover import Transaction, transaction
from edge.agent.scoring import nothing_installed
from edge.agent.slots import FOLDER, Slots, slots_of
from edge.agent.state import Refusal, load
from edge.agent.table import wrong
from edge.disk import Disk
from firnline.errors import DeliveryError, FirnlineError


@dataclass(frozen=True)
class Standing:
    """What is to run now.

    Attributes:
        slot: Folder of the active slot; None where nothing is whole.
        release: Digest of its release.
        manifest: sha256 of its manifest; another one means that another runner is needed.
        on_trial: Whether it is not confirmed yet.
        problems: What went wrong on the way here, for the log.
    """

    slot: Path | None
    release: str | None
    manifest: str | None
    on_trial: bool
    problems: tuple[FirnlineError, ...] = ()


def standing(config: Config) -> Standing:
    """What is to run now, as the state on the disk tells; nothing is verified, nothing changes."""
    state, damage = load(config.state)
    problems = () if damage is None else (damage,)
    if state is None or state.active is None or state.running is None:
        return Standing(None, None, None, False, problems)
    path, running = config.state / FOLDER / state.active, state.running
    return Standing(path, running.release, running.manifest, state.on_trial, problems)


def started(config: Config, disk: Disk) -> Standing:
    """The service starts: what runs is whole, and has not been started too often on trial.

    Slots that are not whole are given up, and where it was the active one the other runs. A start
    on trial is counted; one more than `max_boots` is a crash loop, and the release is refused.

    Returns:
        What is to run. Its problems hold U21 a damaged state, D1 to D9 and H0 to H8 of a slot that
        was given up, U26 a crash loop, U27 when no slot is whole though there were some.
    """
    slots = slots_of(config, disk)
    with transaction(slots, lenient=True) as held:
        held.drop_broken()
        if held.state.on_trial:
            held.commit(replace(held.state, boots=held.state.boots + 1))
            if held.state.boots > config.health.max_boots:
                _fall_back(held, f"{held.state.boots} starts on trial")
        _tidy(held)
        return _told(held)


def stopped(config: Config, disk: Disk, manifest: str | None = None) -> None:
    """A start that came to its end is none of a crash loop: it is counted no more.

    Args:
        config: The device's.
        disk: What changes files.
        manifest: sha256 of the manifest that was started, as for `confirm`.
    """
    with transaction(slots_of(config, disk), lenient=True) as held:
        if _watched(held, manifest) and held.state.boots:
            held.commit(replace(held.state, boots=held.state.boots - 1))


def healthy(health: Health, seconds: float, answers: int) -> bool:
    """Whether a release on trial has run long enough, and answered enough rows, to be believed.

    Args:
        health: The device's rule.
        seconds: Since it was switched to.
        answers: Rows it answered since.
    """
    return seconds >= health.confirm_seconds and answers >= health.confirm_answers


def confirm(config: Config, disk: Disk, manifest: str | None = None) -> Standing:
    """Believe what runs, once the device's own health command agrees; else fall back.

    Parts that no slot needs are removed with it.

    Args:
        config: The device's.
        disk: What changes files.
        manifest: sha256 of the manifest that was watched; another release that was switched to
            meanwhile stays on trial.

    Returns:
        What is to run; its problems hold U26 when the command did not end with 0.

    Raises:
        DeliveryError: U30, the command cannot be started; the release stays on trial.
    """
    complaint = _complaint(config.health)
    if complaint is not None:
        return failed(config, disk, complaint, manifest)
    slots = slots_of(config, disk)
    with transaction(slots) as held:
        name, running = held.state.active, held.state.running
        if name is not None and running is not None and _watched(held, manifest):
            made = {**held.state.slots, name: replace(running, confirmed=True)}
            held.commit(replace(held.state, slots=made, boots=0))
            _tidy(held, parts=True)
        return _told(held)


def confirm_by_hand(config: Config, disk: Disk, release: str = "") -> Standing:
    """Believe what runs because somebody says so who watched it, such as a runner of one's own.

    The device's own health command is asked all the same.

    Args:
        config: The device's.
        disk: What changes files.
        release: What was watched, or how its digest begins; empty for what runs now.

    Raises:
        DeliveryError: U26, the health command says no, and the release was fallen back from; U30
            it cannot be started; U32 nothing is installed; U46 another release runs than was
            watched.
    """
    found = standing(config)
    if found.release is None:
        raise found.problems[0] if found.problems else nothing_installed()
    if not found.release.startswith(release):
        raise _another(found.release, release)
    if not found.on_trial:
        return found
    told = confirm(config, disk, found.manifest)
    for problem in told.problems:
        if problem.code == "U26":
            raise problem
    if told.manifest != found.manifest:
        raise _another(told.release or "none", found.release)
    return told


def failed(config: Config, disk: Disk, reason: str, manifest: str | None = None) -> Standing:
    """What is on trial failed: the release before it runs at once, and this one is refused.

    What is confirmed stays: only a release that is new is suspected of being the cause.

    Args:
        config: The device's.
        disk: What changes files.
        reason: What failed, for the log.
        manifest: sha256 of the manifest that was watched, as for `confirm`.

    Returns:
        What is to run; its problems hold U26, and U27 when there was nothing to fall back to.
    """
    slots = slots_of(config, disk)
    with transaction(slots, lenient=True) as held:
        if _watched(held, manifest):
            suspect = held.state.active
            held.drop_broken()
            if held.state.active == suspect:
                _fall_back(held, reason)
            _tidy(held)
        return _told(held)


def rollback(config: Config, disk: Disk, reason: str = "by hand") -> Standing:
    """Go back to the other slot by hand; the release that ran is refused until reassigned.

    Raises:
        DeliveryError: U24, the other slot holds nothing that is whole.
    """
    slots = slots_of(config, disk)
    with transaction(slots) as held:
        held.drop_broken()
        state, name = held.state, held.state.other
        if name is None or state.running is None:
            lost = "; ".join(error.found for error in held.problems)
            raise DeliveryError(
                "U24",
                found=f"nothing to roll back to{lost and f': {lost}'}",
                where=str(slots.folder),
                mend="assign an older release with `firnline channel rollback`, and pull it",
            )
        left, back = state.running.release, state.slots[name].release
        refused = {key: item for key, item in state.refused.items() if key != back}
        state = replace(state, active=name, boots=0, refused=refused)
        held.commit(state.refusing(left, Refusal(state.assigned, "U26", f"rolled back: {reason}")))
        return _told(held)


def _watched(held: Transaction, manifest: str | None) -> bool:
    """Whether what runs is on trial, and the very release that was watched."""
    running = held.state.running
    return held.state.on_trial and running is not None and manifest in {None, running.manifest}


def _fall_back(held: Transaction, reason: str) -> None:
    """From the slot on trial to the other one, if there is; the release on trial is refused."""
    state, name, bad = held.state, held.state.active, held.state.running
    if name is None or bad is None:
        raise ValueError("nothing runs that could be fallen back from")
    refusal = Refusal(state.assigned, "U26", reason[:200])
    now = held.commit(state.without(name).refusing(bad.release, refusal)).running
    to = "nothing" if now is None else f"release {now.release[:12]}"
    held.problems.append(
        DeliveryError(
            "U26",
            found=f"release {bad.release[:12]} failed its health: {reason[:200]}; back to {to}",
            where=str(held.slots.path(name)),
            mend="look at the release on one device; assign another, or the same once more, to "
            "have it tried again",
        )
    )


def _told(held: Transaction) -> Standing:
    """What is to run; U27 is told where something went wrong and nothing is left."""
    state = held.state
    running = state.running
    if state.active is not None and running is not None:
        path, trial = held.slots.path(state.active), state.on_trial
        return Standing(path, running.release, running.manifest, trial, tuple(held.problems))
    lost = [_none(held.slots)] if held.problems else []
    return Standing(None, None, None, False, (*held.problems, *lost))


def _none(slots: Slots) -> DeliveryError:
    return DeliveryError(
        "U27",
        found="no slot holds a release that is whole",
        where=str(slots.folder),
        mend="nothing runs until the next pull brings one: `firnline-agent pull`",
    )


def _another(runs: str, watched: str) -> DeliveryError:
    return DeliveryError(
        "U46",
        found=f"release {runs[:12]} runs, not {watched[:12]}",
        where="the release that is to be confirmed",
        mend="watch the one that runs, then confirm that: `firnline-agent status`",
    )


def _complaint(health: Health) -> str | None:
    """What the device's own health command has against the release; None when it has nothing."""
    if not health.command:
        return None
    nothing = subprocess.DEVNULL
    try:
        process = subprocess.Popen(
            health.command, stdin=nothing, stdout=nothing, stderr=nothing, start_new_session=True
        )
    except OSError as error:
        # It is the device that is set up wrong, and not the release that is bad.
        raise wrong(
            f"a program that cannot be started: {error.strerror}",
            f"health, command, {health.command[0]}",
            "correct it; the release stays on trial until the program has judged it",
        ) from error
    with process:
        try:
            ended = process.wait(health.command_seconds)
        except subprocess.TimeoutExpired:
            return f"{health.command[0]} took longer than {health.command_seconds:g} s"
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
    return None if ended == 0 else f"{health.command[0]} ended with {ended}"


def _tidy(held: Transaction, *, parts: bool = False) -> None:
    """Remove what nobody names, unless an update is under way that needs it."""
    with suppress(DeliveryError, OSError), exclusive(held.slots.folder.parent):
        held.slots.clean(held.state)
        if parts:
            held.slots.sweep(held.state)
