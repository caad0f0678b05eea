"""Changing a role's keys, whatever the reason: a person left, a key was lost, a key was stolen."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from securesystemslib.signer import Key
from tuf.api.metadata import Role, Root, Targets

from edge.channel import keys
from edge.channel.ceremony import advance, hold_idle, stage_roots, stage_targets, waiting
from edge.channel.config import ROLES
from edge.channel.metadata import TOP, Authority, authority_of, edited
from edge.channel.repository import Repository
from edge.channel.state import State
from firnline.errors import DeliveryError


@dataclass(frozen=True)
class Rotated:
    """A role with other keys.

    Attributes:
        role: Its name.
        added: Key ids that are new.
        dropped: Key ids that are gone, once what is staged is in force.
        staged: Files that wait for signatures; empty where the new keys are in force.
    """

    role: str
    added: Sequence[str]
    dropped: Sequence[str]
    staged: Sequence[Path]

    def document(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return {**asdict(self), "staged": [str(path) for path in self.staged]}


def rotate(
    repo: Repository, role: str, uris: Sequence[str], *, threshold: int | None = None
) -> Rotated:
    """Give a role exactly these keys.

    A key that is not there is made. Where the keys at hand are not enough to sign, what is to be
    signed waits in `ceremony/`. Run again with the same keys after a kill, it goes on.

    Args:
        repo: The channel.
        role: Any role of the channel.
        uris: Of all the keys it has from now on; one that it has already may be among them.
        threshold: How many of them must sign; as many as now unless told.

    Raises:
        DeliveryError: V4, a threshold above the keys; V8, no such role; V14, another ceremony is
            under way; V1 to V6.
    """
    if role not in ROLES:
        raise DeliveryError(
            "V8", found=f"no role {role!r}", where="the channel", mend=f"one of {', '.join(ROLES)}"
        )
    with repo.locked() as state:
        if waiting(repo):
            state = _resumed(repo, state)
        now = _authority(state, role)
        needed = now.threshold if threshold is None else threshold
        if not 1 <= needed <= len(set(uris)):
            raise _infeasible(role, needed, len(set(uris)))
        new = _keys(repo, uris)
        wanted = Authority(list(new.values()), needed)
        added = [keyid for keyid in wanted.ids if keyid not in now.ids]
        dropped = [keyid for keyid in now.ids if keyid not in wanted.ids]
        if not added and not dropped and wanted.threshold == now.threshold:
            return Rotated(role, [], [], [])
        repo.adopt({key.keyid: uri for uri, key in new.items()})
        return _staged(repo, state, role, wanted, added, dropped)


def _staged(
    repo: Repository,
    state: State,
    role: str,
    wanted: Authority,
    added: Sequence[str],
    dropped: Sequence[str],
) -> Rotated:
    staged = _stage(repo, state, role, wanted)
    try:
        advance(repo, state)
    except DeliveryError as error:
        if error.code != "V4":
            raise
        return Rotated(role, added, dropped, staged)
    repo.adopt({}, [keyid for keyid in dropped if keyid not in _in_use(repo.state())])
    return Rotated(role, added, dropped, [])


def _stage(repo: Repository, state: State, role: str, wanted: Authority) -> list[Path]:
    if role not in TOP:
        targets = edited(state.targets)
        _delegate(targets, role, wanted)
        return [stage_targets(repo, state, state.root.signed, targets)]
    last = edited(state.root)
    _name(last, role, wanted)
    if role == "root":
        return stage_roots(repo, state, [last])
    both = edited(state.root)
    _name(both, role, _both(authority_of(both, role), wanted))
    staged = stage_roots(repo, state, [both, last])
    if role == "targets":
        staged.append(stage_targets(repo, state, last, edited(state.targets)))
    return staged


def _both(now: Authority, wanted: Authority) -> Authority:
    """Old keys and new ones, for the moment between; what the old signed must pass still."""
    every = {key.keyid: key for key in (*now.keys, *wanted.keys)}
    return Authority(list(every.values()), min(now.threshold, wanted.threshold))


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
    """Finish a rotation that was killed; one that lacks signatures stays as it is."""
    try:
        advance(repo, state)
    except DeliveryError as error:
        if error.code == "V4":
            hold_idle(repo)
        raise
    return repo.state()


def _authority(state: State, role: str) -> Authority:
    return authority_of(state.root.signed if role in TOP else state.targets.signed, role)


def _in_use(state: State) -> set[str]:
    delegations = state.targets.signed.delegations
    return {*state.root.signed.keys, *(delegations.keys if delegations else {})}


def _keys(repo: Repository, uris: Sequence[str]) -> dict[str, Key]:
    return {uri: keys.ensure(uri, repo.secrets, disk=repo.disk) for uri in uris}


def _infeasible(role: str, needed: int, keys: int) -> DeliveryError:
    return DeliveryError(
        "V4",
        found=f"a threshold of {needed} with {keys} keys",
        where=f"the role {role}",
        mend="name at least as many keys as must sign, or give another `--threshold`",
    )
