"""The expiry watch: what expires when, what is renewed here, and what needs people.

An expired timestamp stops every device from taking anything new: to a device it looks like an
attacker who holds the channel still. So each role is renewed long before.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from tuf.api.metadata import Targets

from edge.channel.ceremony import advance, stage_roots, stage_targets, waiting
from edge.channel.commit import Change, commit
from edge.channel.config import ONLINE, PEOPLE
from edge.channel.metadata import authority_of, edited
from edge.channel.repository import Repository, too_few
from edge.channel.state import State
from firnline.errors import DeliveryError

_PEOPLE_NEED = timedelta(days=30)
"""How long before the end people are told: a ceremony takes weeks to come together."""


@dataclass(frozen=True)
class Due:
    """A role whose end is near.

    Attributes:
        role: Its name.
        expires: When it ends, UTC.
        days: Until then, whole; below 0 where it is past.
        why: Why it was not renewed here.
    """

    role: str
    expires: datetime
    days: int
    why: str


@dataclass(frozen=True)
class Renewed:
    """What the watch did.

    Attributes:
        renewed: Roles that were signed anew.
        waiting: Roles that need people.
    """

    renewed: Sequence[str]
    waiting: Sequence[Due]

    def document(self) -> dict[str, Any]:
        """As `--json` prints it."""
        due = [{**asdict(each), "expires": each.expires.isoformat()} for each in self.waiting]
        return {"renewed": list(self.renewed), "waiting": due}

    def hold(self) -> None:
        """Refuse to go on in silence where people are needed.

        Raises:
            DeliveryError: V9, a role will expire, or has.
        """
        if self.waiting:
            listed = ", ".join(f"{due.role} in {due.days} days" for due in self.waiting)
            raise DeliveryError(
                "V9",
                found=f"what cannot be renewed here expires: {listed}",
                where="; ".join(sorted({due.why for due in self.waiting})),
                mend="bring the keys, or stage and sign it with `firnline channel sign`",
            )


def renew(repo: Repository, within: timedelta | None = None) -> Renewed:
    """Renew what ends soon and can be signed here.

    Args:
        repo: The channel.
        within: Time before the end; half a role's period unless told, 30 days for root and
            targets.

    Raises:
        DeliveryError: V1, V5, V6.
    """
    with repo.locked() as state:
        now = repo.now()
        due = [
            role for role, expires in expiries(state) if expires - now < _window(repo, role, within)
        ]
        lacking = {role: why for role in due if (why := _lacking(repo, state, role))}
        mine = [role for role in due if role not in lacking]
        _sign(repo, state, mine)
        ends = dict(expiries(state))
        waits = [
            Due(role, ends[role], (ends[role] - now).days, why) for role, why in lacking.items()
        ]
        return Renewed(mine, waits)


def expiries(state: State) -> Iterator[tuple[str, datetime]]:
    """Every role and when what it signed expires, those that people sign first."""
    yield "root", state.root.signed.expires
    yield "targets", state.targets.signed.expires
    for name in state.names():
        yield name, state.role(name).signed.expires
    yield "snapshot", state.snapshot.signed.expires
    yield "timestamp", state.timestamp.signed.expires


def _window(repo: Repository, role: str, within: timedelta | None) -> timedelta:
    usual = _PEOPLE_NEED if role in PEOPLE else timedelta(days=repo.config.period(role)) / 2
    return usual if within is None else within


def _lacking(repo: Repository, state: State, role: str) -> str:
    """Why a role cannot be signed here; empty where it can."""
    above = state.root.signed if role in (*PEOPLE, *ONLINE) else state.delegator(role)
    authority = authority_of(above, role)
    signers, problems = repo.at_hand(authority.keys)
    if role in PEOPLE and waiting(repo):
        return "a ceremony is under way"
    if len(signers) >= authority.threshold:
        return ""
    return too_few(role, len(signers), authority.threshold, problems).found


def _sign(repo: Repository, state: State, roles: Sequence[str]) -> None:
    people = [role for role in roles if role in PEOPLE]
    if "root" in people:
        stage_roots(repo, state, [edited(state.root)])
    if "targets" in people:
        stage_targets(repo, state, state.root.signed, edited(state.targets))
    if people:
        advance(repo, state)
    below: dict[str, Targets] = {
        role: edited(state.role(role)) for role in roles if role not in (*PEOPLE, *ONLINE)
    }
    if below or set(roles) & set(ONLINE):
        commit(repo, repo.state(), Change(roles=below))
