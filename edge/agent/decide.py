"""What an offer asks of a device: a pure rule, state and offer in, step out."""

from dataclasses import dataclass

from edge.agent.state import NAMES, Name, Refusal, State


@dataclass(frozen=True)
class Keep:
    """What runs is what is offered."""


@dataclass(frozen=True)
class Refused:
    """The release was refused under this very assignment.

    Attributes:
        refusal: When and why.
    """

    refusal: Refusal


@dataclass(frozen=True)
class Switch:
    """The release lies whole in the other slot, as after a rollback of the fleet.

    Attributes:
        slot: That slot.
    """

    slot: Name


@dataclass(frozen=True)
class Install:
    """The release is to be fetched.

    Attributes:
        slot: The slot it is for; what lies there goes once the release has passed every check.
    """

    slot: Name


Step = Keep | Refused | Switch | Install


def decide(state: State, release: str, manifest: str, assignment: str) -> Step:
    """What to do about an offer.

    Args:
        state: What the device knows.
        release: Digest of the offered release.
        manifest: sha256 of its manifest: the same release may be packed anew for this target.
        assignment: `track/ensemble@version` that offers it.
    """
    running = state.running
    if running is not None and (running.release, running.manifest) == (release, manifest):
        return Keep()
    refusal = state.refused.get(release)
    if refusal is not None and refusal.assignment == assignment:
        return Refused(refusal)
    if state.other is not None:
        held = state.slots[state.other]
        if (held.release, held.manifest) == (release, manifest):
            return Switch(state.other)
    return Install(spare(state))


def spare(state: State) -> Name:
    """The slot that the next release goes into.

    It is the one that does not run; but while what runs is on trial and the other is known to be
    good, the good one stays, and the next release takes the place of the one on trial.
    """
    if state.active is None:
        return next((name for name in NAMES if name not in state.slots), NAMES[0])
    if state.on_trial and state.other is not None and state.slots[state.other].confirmed:
        return state.active
    return next(name for name in NAMES if name != state.active)
