"""`firnline channel`'s keys: made, changed, used in a ceremony, and the channel built anew."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.markup import escape

from firnline import wiring
from firnline.cli import channel_open
from firnline.cli.channel import show
from firnline.cli.channel_open import Where
from firnline.cli.show import aside, screen
from firnline.contracts.places import version_of
from firnline.digest import file_digest
from firnline.errors import DeliveryError

if TYPE_CHECKING:
    from edge.channel.restore import Restored


def key(uri: str, public_file: Path | None, passphrase: Path | None, *, as_json: bool) -> None:
    """Make a key where a URI says, or show the one that is there.

    Args:
        uri: Where its private half is, or shall be.
        public_file: Where its public half is written in PEM, for who makes the channel.
        passphrase: File that holds its passphrase.
        as_json: Print one document instead of text.

    Raises:
        DeliveryError: V2 nothing can be made or read there, V3 its passphrase is wrong, V33.
    """
    from edge.channel import keys
    from edge.disk import RealDisk

    # A token tells whether it holds a key only once it is open.
    ask = channel_open.asking(passphrase, new=uri.startswith("file:") and not keys.there(uri))
    try:
        public, made = keys.open_key(uri, ask).public_key, False
    except DeliveryError as error:
        if error.code != "V2" or keys.there(uri):
            raise
        public, made = keys.new_key(uri, ask), True
    if public_file is not None:
        RealDisk().write(public_file, keys.public_pem(public))
    document = {"made": made, "uri": uri, "keyid": public.keyid, **public.to_dict()}
    told = "made" if made else "is there"
    lines = (
        f"{told}  {escape(uri)}",
        f"key id  {public.keyid}",
        f"public  {public.keytype} {escape(str(public.keyval['public']))}",
    )
    show(document, "\n".join(lines), as_json=as_json)


def rotate(
    where: Where,
    roles: Sequence[str],
    uris: Sequence[str],
    threshold: int | None,
    *,
    by: str,
    reason: str,
    yes: bool,
    as_json: bool,
) -> None:
    """Give roles other keys, all at once; keys that are not there are made.

    Args:
        where: The channel.
        roles: Whose.
        uris: All their keys from now on, as ROLE=URI where there are several roles; a role that
            is given none gets a new file in the project's key folder.
        threshold: How many of a role's keys must sign; as many as now when not given.
        by: Who does it.
        reason: Why, in one sentence.
        yes: Do not ask.
        as_json: Print one document instead of text.

    Raises:
        BadParameter: A key of none of the roles, or of several.
        DeliveryError: V1 to V6, V8, V12, V14, V33 or V34.
    """
    from edge.channel import keys
    from edge.channel.rotate import hold_roles, rotate_together

    hold_roles(roles)
    chosen = _chosen(roles, uris)
    repo = channel_open.repository(where)
    repo.state()
    listed = "; ".join(f"{role}: {', '.join(places)}" for role, places in chosen.items())
    channel_open.confirm(f"Let these keys alone sign from now on? {listed}", yes=yes)
    fresh = channel_open.asking(where.passphrase, new=True)
    for uri in (uri for places in chosen.values() for uri in places if not keys.there(uri)):
        keys.ensure(uri, fresh)
    done = rotate_together(repo, chosen, threshold=threshold)
    told = ", ".join(chosen)
    if done.added or done.dropped:
        channel_open.record(
            "rotation",
            "staged" if done.staged else "in force",
            subject=channel_open.LEDGER,
            by=by,
            reason="; ".join(filter(None, [f"keys of {told}", reason])),
            numbers={"role": told},
            inputs={
                **{f"added {number}": keyid for number, keyid in enumerate(done.added)},
                **{f"dropped {number}": keyid for number, keyid in enumerate(done.dropped)},
            },
        )
    line = f"keys of {told}: {len(done.added)} added, {len(done.dropped)} dropped"
    show(done.document(), f"{line}{_staged(done.staged)}", as_json=as_json)


def stage(where: Where, role: str, *, as_json: bool) -> None:
    """Stage root or targets with a new expiry, for people to sign.

    Args:
        where: The channel.
        role: `root` or `targets`.
        as_json: Print one document instead of text.

    Raises:
        DeliveryError: V8 another role, V14 a ceremony is under way, or V1 to V6.
    """
    from edge.channel.drafts import draft

    path = draft(channel_open.repository(where), role)
    show({"staged": str(path)}, f"staged{_staged([path])}", as_json=as_json)


def sign(file: Path, uri: str, passphrase: Path | None, *, as_json: bool) -> None:
    """Add one signature to a staged file.

    Args:
        file: As it lies in the channel's `ceremony` folder, or a copy of it.
        uri: The signer's key.
        passphrase: File that holds its passphrase.
        as_json: Print one document instead of text.

    Raises:
        DeliveryError: V2 or V3 the key cannot be used, V6 the file cannot be read, V33.
    """
    from edge.channel.ceremony import sign as add

    done = add(file, uri, channel_open.asking(passphrase))
    line = (
        f"signed {done.role} {done.version}, good until {done.expires}, content sha256 "
        f"{done.sha256}; {done.signatures} signatures now"
    )
    for role, (threshold, keyids) in done.names.items():
        line += f"\n  {role}: {threshold} of {', '.join(keyid[:12] for keyid in keyids)}"
    show(done.document(), line, as_json=as_json)


def apply(where: Where, *, as_json: bool) -> None:
    """Bring what is staged into force, once enough people have signed.

    Args:
        where: The channel.
        as_json: Print one document instead of text.

    Raises:
        DeliveryError: V4 signatures are missing, V8 nothing is staged, or V1 to V6.
    """
    from edge.channel.ceremony import apply as bring
    from edge.channel.init import GIVEN

    repo = channel_open.repository(where)
    done = bring(repo)
    roots = ", ".join(str(version) for version in done.roots) or "none"
    line = f"in force  new roots: {roots}; roles signed anew: {len(done.roles)}"
    if 1 in done.roots:
        given = repo.folder / GIVEN
        line += f"\nroot    {escape(str(given))}\nsha256  {file_digest(given)}"
    show(done.document(), line, as_json=as_json)


def sweep(where: Where, keep: int, *, yes: bool, as_json: bool) -> None:
    """Remove releases that no assignment names any more, and files that nothing names.

    Args:
        where: The channel.
        keep: Newest assignments of each track whose releases stay.
        yes: Do not ask.
        as_json: Print one document instead of text.

    Raises:
        DeliveryError: V12 `keep` is below 1, V34 nobody can be asked, or V1 to V6.
    """
    from edge.channel.sweep import sweep as clean

    repo = channel_open.repository(where)
    repo.state()
    channel_open.confirm(
        f"Remove what none of the {keep} newest assignments of a track names?", yes=yes
    )
    done = clean(repo, keep)
    line = f"removed {done.releases} manifests, {done.files} files, {done.bytes:,} bytes"
    show(done.document(), line, as_json=as_json)


def restore(
    where: Where,
    mirror: Path | None,
    roots: Sequence[Path],
    uris: Sequence[str],
    keys: Path | None,
    above: int | None,
    days: Mapping[str, int],
    *,
    as_json: bool,
) -> None:
    """Build a lost channel anew: from a mirror of its public folder, or from its keys alone.

    Args:
        where: The channel; none may stand there.
        mirror: A copy of the public folder; without it nothing is published afterwards.
        roots: The trusted root; without a mirror all of them, in a row, or a folder of them.
        uris: Keys; as ROLE=URI without a mirror.
        keys: Folder of key files to use as well; the project's own when no key is named.
        above: Highest version that a device may have seen.
        days: Role -> days until what it signs expires.
        as_json: Print one document instead of text.

    Raises:
        BadParameter: Something that is needed is not given.
        DeliveryError: V1 a channel stands there, V6 it does not verify, V2 to V4, or V33.
    """
    from edge.channel import restore as rebuild

    held = _held(uris, keys)
    given = [_content(path) for root in roots for path in _row(root)]
    place, ask = channel_open.folder(where.channel), channel_open.asking(where.passphrase)
    if mirror is not None:
        if len(given) != 1:
            raise typer.BadParameter("give one --root with --mirror: the one that is trusted")
        every = [uri for found in held.values() for uri in found]
        done = rebuild.from_mirror(
            place, mirror, given[0], every, secrets=ask, days=days, above=above or 0
        )
    else:
        if not given or above is None:
            raise typer.BadParameter("without --mirror give every --root in a row, and --above")
        done = rebuild.from_keys(place, given, held, secrets=ask, days=days, above=above)
    _show_restored(done, as_json=as_json)


def _row(root: Path) -> list[Path]:
    """A root, or those of a folder in a row, as in a device's `trust/root_history/`."""
    if not root.is_dir():
        return [root]
    found = [path for path in root.glob("*.root.json") if version_of(path.name)]
    return sorted(found, key=lambda path: version_of(path.name))


def _held(uris: Sequence[str], keys: Path | None) -> Mapping[str, Sequence[str]]:
    """Role -> URIs; a file's role is its name up to the first dash, as in `root-1.pem`."""
    found = _by_role(uris)
    folder = keys or (None if uris else wiring.settings().key_folder)
    for path in sorted(folder.resolve().glob("*.pem")) if folder else ():
        found.setdefault(path.stem.partition("-")[0], []).append(f"file:{path}")
    if not found:
        raise typer.BadParameter("no keys: name them with --key, or their folder with --keys")
    return found


def _by_role(uris: Sequence[str]) -> dict[str, list[str]]:
    """Role -> URIs, from `[ROLE=]URI`; the role is empty where none is named."""
    found: dict[str, list[str]] = {}
    for text in uris:
        role, equals, uri = text.partition("=")
        # PKCS#11 URIs hold `=` too, but no role holds a colon.
        named = bool(equals) and ":" not in role
        found.setdefault(role if named else "", []).append(uri if named else text)
    return found


def _chosen(roles: Sequence[str], uris: Sequence[str]) -> dict[str, list[str]]:
    """Each role's keys from now on."""
    given = _by_role(uris)
    if "" in given:
        if len(roles) > 1:
            raise typer.BadParameter("say whose each key is, as --key ROLE=URI")
        given.setdefault(roles[0], []).extend(given.pop(""))
    if strangers := sorted(set(given) - set(roles)):
        raise typer.BadParameter(f"a key of {strangers[0]}, which is not among the roles")
    return {role: given.get(role) or [_unused(role)] for role in roles}


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DeliveryError(
            "V35",
            found=f"no readable root: {error.strerror}",
            where=str(path),
            mend="name a root file, as devices were given it",
        ) from error


def _unused(role: str) -> str:
    """A key file of the project's key folder that is not there yet."""
    folder, number = wiring.settings().key_folder, 1
    while (folder / f"{role}-{number}.pem").exists():
        number += 1
    return f"file:{folder / f'{role}-{number}.pem'}"


def _staged(paths: Sequence[Path]) -> str:
    """What is to be done with files that wait; nothing where none does."""
    if not paths:
        return ""
    listed = "\n".join(f"  firnline channel sign {escape(str(path))} --key URI" for path in paths)
    return f"; waiting for signatures\n{listed}\n  firnline channel apply"


def _show_restored(done: "Restored", *, as_json: bool) -> None:
    line = (
        f"restored {escape(str(done.folder))}  root {done.root_version}, {done.releases} "
        f"manifests, {done.parts} parts, {len(done.keys)} keys"
    )
    show(done.document(), line, as_json=as_json)
    if as_json or not done.missing:
        return
    aside().print(f"[yellow]{len(done.missing)} files are not whole in the mirror:[/yellow]")
    for path in done.missing:
        screen().print(escape(path), soft_wrap=True)
