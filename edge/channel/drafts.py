"""What waits for signatures: roots and targets as files in `ceremony/`, for people to sign."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tuf.api.metadata import Root, Targets

from edge.channel.config import PEOPLE
from edge.channel.keys import elsewhere
from edge.channel.metadata import after, authority_of, dated, edited, signed
from edge.channel.repository import Repository
from edge.channel.state import State
from firnline.contracts.places import version_of
from firnline.errors import DeliveryError


def waiting(repo: Repository) -> list[Path]:
    """Files that wait for signatures, roots first."""
    found = [path for role in PEOPLE for path in repo.ceremony.glob(f"*.{role}.json")]
    return sorted(
        found, key=lambda path: (path.name.endswith("targets.json"), version_of(path.name))
    )


def draft(repo: Repository, role: str) -> Path:
    """Stage a root or targets as it is with a new expiry, signed by the keys at hand.

    Args:
        repo: The channel.
        role: `root` or `targets`.

    Raises:
        DeliveryError: V8, another role; V14, a ceremony is under way; V1, V5, V6.
    """
    if role not in PEOPLE:
        raise DeliveryError(
            "V8",
            found=f"the role {role!r}",
            where="a ceremony",
            mend="only root and targets are signed by people; the rest is renewed by itself",
        )
    with repo.locked() as state:
        if finished(repo, state):
            hold_idle(repo)
        if role == "root":
            return stage(repo, state, [edited(state.root)])[0]
        return stage(repo, state, targets=edited(state.targets))[0]


def stage(
    repo: Repository, state: State, roots: Sequence[Root] = (), targets: Targets | None = None
) -> list[Path]:
    """Write what follows the roots and targets that are in force, signed by the keys at hand.

    The first is written last: a row of roots without it is what a kill has left, and no ceremony.

    Args:
        repo: The channel.
        state: What is committed.
        roots: In a row; each gets its version and its time.
        targets: Likewise; it is signed for the present root and the last of the new ones.

    Returns:
        The files, roots first.
    """
    row = [state.root.signed, *roots]
    for before, root in itertools.pairwise(row):
        dated(root, before.version + 1, after(repo.now(), repo.config.period("root")))
    drafts: list[tuple[str, Root | Targets, Sequence[Root]]] = [
        ("root", root, (before, root)) for before, root in itertools.pairwise(row)
    ]
    if targets is not None:
        version = state.targets.signed.version + 1
        dated(targets, version, after(repo.now(), repo.config.period("targets")))
        drafts.append(("targets", targets, (row[0], row[-1])))
    *later, first = [write(repo, *draft) for draft in (*drafts[1:], drafts[0])]
    return [first, *later]


def finished(repo: Repository, state: State) -> bool:
    """Whether a whole ceremony waits; what a kill left of one that was being staged goes.

    A row of roots that does not begin after the newest is one whose first was not written yet.
    """
    files, newest = waiting(repo), state.root.signed.version
    roots = [version_of(path.name) for path in files if path.name.endswith(".root.json")]
    ahead = [number for number in roots if number > newest]
    if not ahead or ahead[0] == newest + 1:
        return bool(files)
    for path in reversed(files):
        repo.disk.remove(path)
    return False


def hold_idle(repo: Repository) -> None:
    """Refuse to stage beside what is staged already.

    Raises:
        DeliveryError: V14.
    """
    if found := waiting(repo):
        raise DeliveryError(
            "V14",
            found=f"{', '.join(path.name for path in found)} waiting for signatures",
            where=str(repo.ceremony),
            mend="`firnline channel sign` each, then `firnline channel apply`; or remove the files",
        )


def write(repo: Repository, role: str, payload: Any, delegators: Iterable[Root]) -> Path:
    """Write a draft, signed by the keys at hand.

    Args:
        repo: The channel.
        role: `root` or `targets`.
        payload: What it says, dated.
        delegators: Roots by which it must be signed.
    """
    keys_of = {key.keyid: key for root in delegators for key in authority_of(root, role).keys}
    signers, _ = repo.at_hand(keys_of.values())
    path = repo.ceremony / f"{payload.version}.{role}.json"
    repo.disk.write(path, signed(payload, signers).to_bytes())
    return path


def hold_here(uris: Mapping[str, Sequence[str]]) -> None:
    """Refuse a key of which the public half alone is known, but where people sign.

    Args:
        uris: Role -> URIs of its keys.

    Raises:
        DeliveryError: V2.
    """
    for role, places in uris.items():
        for uri in places if role not in PEOPLE else ():
            if elsewhere(uri):
                raise DeliveryError(
                    "V2",
                    found=f"the public half alone of a key of {role}",
                    where=f"the key {uri}",
                    mend="only root and targets are signed elsewhere; bring this key here",
                )
