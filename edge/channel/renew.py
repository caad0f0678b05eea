"""The expiry watch: what expires when, what is renewed here, and what needs people.

An expired timestamp stops every device from taking anything new: to a device it looks like an
attacker who holds the channel still. So each role is renewed long before.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from tuf.api.metadata import Targets

from edge.channel.ceremony import advance
from edge.channel.commit import Change, commit
from edge.channel.config import ONLINE, PEOPLE
from edge.channel.drafts import stage, waiting
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
        role: Its name; a kind stands for its bins.
        expires: When it ends, UTC; for a kind, the first of it and its bins.
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
        renewed: Roles that were signed anew; a kind stands for its bins.
        waiting: Roles that need people, likewise.
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
                mend="bring the keys; root and targets can be signed elsewhere after "
                "`firnline channel stage`, and a lost key is replaced by `rotate-keys`",
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
        # Bins are signed with the keys of their kind, so each set of keys is tried once.
        tried = {role: _lacking(repo, state, role) for role in dict.fromkeys(map(family, due))}
        _sign(repo, state, [role for role in due if not tried[family(role)]])
        ends = ends_of(state)
        return Renewed(
            renewed=[role for role, why in tried.items() if not why],
            waiting=[
                Due(role, ends[role], (ends[role] - now).days, why)
                for role, why in tried.items()
                if why
            ],
        )


def family(role: str) -> str:
    """The role that a role is told with: a bin's kind, else itself."""
    return role.partition("-")[0]


def ends_of(state: State) -> dict[str, datetime]:
    """Role -> when what it signed expires; for a kind, the first of it and its bins."""
    found: dict[str, datetime] = {}
    for name, expires in expiries(state):
        found[family(name)] = min(expires, found.get(family(name), expires))
    return found


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
    if people:
        roots = [edited(state.root)] if "root" in people else []
        targets = edited(state.targets) if "targets" in people else None
        stage(repo, state, roots, targets)
        advance(repo, state)
    below: dict[str, Targets] = {
        role: edited(state.role(role)) for role in roles if role not in (*PEOPLE, *ONLINE)
    }
    if below or set(roles) & set(ONLINE):
        commit(repo, repo.state(), Change(roles=below))
