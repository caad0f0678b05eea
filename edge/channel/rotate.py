"""Changing keys of roles, whatever the reason: a person left, a key was lost, a key was stolen.

What one machine holds is lost or stolen together, so keys of several roles change in one rotation:
none of the old ones is needed, and the people who sign are asked once.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from securesystemslib.signer import Key
from tuf.api.metadata import Role, Root, Targets

from edge.channel import keys
from edge.channel.ceremony import advance, hold_online
from edge.channel.config import ONLINE, ROLES
from edge.channel.drafts import finished, hold_here, hold_idle, stage
from edge.channel.metadata import TOP, Authority, authority_of, edited, unique
from edge.channel.repository import Repository
from edge.channel.state import State
from firnline.contracts.firmware import KIND, MOST_SIGNATURES
from firnline.errors import DeliveryError


@dataclass(frozen=True)
class Rotated:
    """Roles with other keys.

    Attributes:
        roles: Their names.
        added: Key ids that are new.
        dropped: Key ids that are gone, once what is staged is in force.
        staged: Files that wait for signatures; empty where the new keys are in force.
    """

    roles: Sequence[str]
    added: Sequence[str]
    dropped: Sequence[str]
    staged: Sequence[Path]

    def document(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return {**asdict(self), "staged": [str(path) for path in self.staged]}


def rotate(
    repo: Repository, role: str, uris: Sequence[str], *, threshold: int | None = None
) -> Rotated:
    """Give one role exactly these keys, as `rotate_together` does.

    Args:
        repo: The channel.
        role: Any role of the channel.
        uris: Of all the keys it has from now on; one that it has already may be among them.
        threshold: How many of them must sign; as many as now unless told.

    Raises:
        DeliveryError: As `rotate_together`.
    """
    return rotate_together(repo, {role: uris}, threshold=threshold)


def hold_roles(names: Iterable[str]) -> None:
    """Refuse what is no role.

    Raises:
        DeliveryError: V8, one is none.
    """
    for name in names:
        if name not in ROLES:
            listed = f"name one of {', '.join(ROLES)}"
            raise DeliveryError("V8", found=f"no role {name!r}", where="the channel", mend=listed)


def rotate_together(
    repo: Repository, uris: Mapping[str, Sequence[str]], *, threshold: int | None = None
) -> Rotated:
    """Give roles exactly these keys, all at once.

    A key that is not there is made. Where the keys at hand are not enough to sign, what is to be
    signed waits in `ceremony/`. Run again with the same keys after a kill, it goes on.

    Args:
        repo: The channel.
        uris: Role -> URIs of all the keys it has from now on; one that it has already may be
            among them.
        threshold: How many of a role's keys must sign; as many as now unless told.

    Raises:
        DeliveryError: V2, a key that signs here is known by its public half alone; V2 or V3,
            snapshot or timestamp cannot be signed, whose keys stay; V4, a threshold above the
            keys; V8, no such role; V14, another ceremony is under way; V1 to V6.
    """
    hold_roles(uris)
    hold_here(uris)
    with repo.locked() as state:
        if finished(repo, state):
            state = _resumed(repo, state)
        now = {role: _authority(state, role) for role in uris}
        needed = {
            role: each.threshold if threshold is None else threshold for role, each in now.items()
        }
        _hold_feasible(uris, needed)
        ring = {uri: _key(repo, uri) for places in uris.values() for uri in places}
        _hold_feasible({role: _ids(ring, places) for role, places in uris.items()}, needed)
        named = {
            role: unique((ring[uri] for uri in places), needed[role])
            for role, places in uris.items()
        }
        wanted = {role: each for role, each in named.items() if not _same(each, now[role])}
        before = {keyid for role in wanted for keyid in now[role].ids}
        after = {keyid for each in wanted.values() for keyid in each.ids}
        done = Rotated(list(wanted), sorted(after - before), sorted(before - after), [])
        if not wanted:
            return done
        repo.adopt({key.keyid: uri for uri, key in ring.items()})
        return _carried_out(repo, state, wanted, done)


def _carried_out(
    repo: Repository, state: State, wanted: Mapping[str, Authority], done: Rotated
) -> Rotated:
    roots = _roots(state, wanted)
    if set(wanted) != {"root"}:
        _hold_online(repo, state, roots)
    staged = _stage(repo, state, wanted, roots)
    try:
        advance(repo, state)
    except DeliveryError as error:
        if error.code != "V4":
            raise
        return replace(done, staged=staged)
    in_use = _in_use(repo.state())
    repo.adopt({}, [keyid for keyid in done.dropped if keyid not in in_use])
    return done


def _roots(state: State, wanted: Mapping[str, Authority]) -> list[Root]:
    """The roots that lead to other keys: one with old and new where any below root changes."""
    top = {role: authority for role, authority in wanted.items() if role in TOP}
    between, last = edited(state.root), edited(state.root)
    for role, authority in top.items():
        _name(last, role, authority)
        # Nothing that is online is signed by root's own keys.
        shared = authority if role == "root" else _both(authority_of(between, role), authority)
        _name(between, role, shared)
    if not top:
        return []
    return [last] if list(top) == ["root"] else [between, last]


def _stage(
    repo: Repository, state: State, wanted: Mapping[str, Authority], roots: Sequence[Root]
) -> list[Path]:
    below = {role: authority for role, authority in wanted.items() if role not in TOP}
    targets = None
    if below or "targets" in wanted:
        targets = edited(state.targets)
        for role, authority in below.items():
            _delegate(targets, role, authority)
    return stage(repo, state, roots, targets)


def _both(now: Authority, wanted: Authority) -> Authority:
    """Old keys and new ones, for the moment between; what the old signed must pass still."""
    return unique((*now.keys, *wanted.keys), min(now.threshold, wanted.threshold))


def _name(root: Root, role: str, wanted: Authority) -> None:
    root.roles[role] = Role(wanted.ids, wanted.threshold)
    root.keys.update({key.keyid: key for key in wanted.keys})
    named = {keyid for each in root.roles.values() for keyid in each.keyids}
    root.keys = {keyid: key for keyid, key in root.keys.items() if keyid in named}


def _delegate(targets: Targets, role: str, wanted: Authority) -> None:
    delegations = targets.delegations
    if delegations is None or delegations.roles is None:
        raise DeliveryError(
            "V6",
            found="targets delegates to nobody",
            where="the channel",
            mend="rebuild it with `firnline channel restore`",
        )
    delegations.roles[role].keyids = wanted.ids
    delegations.roles[role].threshold = wanted.threshold
    known = {**delegations.keys, **{key.keyid: key for key in wanted.keys}}
    named = {keyid for each in delegations.roles.values() for keyid in each.keyids}
    delegations.keys = {keyid: key for keyid, key in known.items() if keyid in named}


def _resumed(repo: Repository, state: State) -> State:
    """Finish a rotation that was killed; one that lacks signatures or keys stays as it is."""
    try:
        advance(repo, state)
    except DeliveryError as error:
        if error.code in ("V2", "V4"):
            hold_idle(repo)
        raise
    return repo.state()


def _hold_online(repo: Repository, state: State, roots: Sequence[Root]) -> None:
    """Before anything is staged: what comes between two roots can be signed here."""
    try:
        hold_online(repo, state, (*roots, state.root.signed)[0])
    except DeliveryError as error:
        raise DeliveryError(
            error.code,
            found=error.found,
            where=error.where,
            mend=f"bring it, or change its key as well: `rotate-keys {' '.join(ONLINE)} ...`",
        ) from error


def _authority(state: State, role: str) -> Authority:
    return authority_of(state.root.signed if role in TOP else state.targets.signed, role)


def _in_use(state: State) -> set[str]:
    delegations = state.targets.signed.delegations
    return {*state.root.signed.keys, *(delegations.keys if delegations else {})}


def _same(one: Authority, other: Authority) -> bool:
    return (set(one.ids), one.threshold) == (set(other.ids), other.threshold)


def _key(repo: Repository, uri: str) -> Key:
    return keys.ensure(uri, repo.secrets, disk=repo.disk)


def _ids(ring: Mapping[str, Key], uris: Sequence[str]) -> list[str]:
    return [ring[uri].keyid for uri in uris]


def _hold_feasible(named: Mapping[str, Sequence[str]], needed: Mapping[str, int]) -> None:
    for role, keys_of in named.items():
        if not 1 <= needed[role] <= len(set(keys_of)):
            raise DeliveryError(
                "V4",
                found=f"a threshold of {needed[role]} with {len(set(keys_of))} keys",
                where=f"the role {role}",
                mend="name at least as many keys as must sign, or give another `--threshold`",
            )
        if role == KIND and needed[role] > MOST_SIGNATURES:
            raise DeliveryError(
                "V4",
                found=f"a threshold of {needed[role]}, where bootloaders check {MOST_SIGNATURES}",
                where=f"the role {role}",
                mend=f"give a `--threshold` of at most {MOST_SIGNATURES}",
            )
