"""Why metadata were refused, as the attack it would be.

python-tuf refuses what it must, yet says only which check failed: too few signatures, whoever made
them; another hash, whatever came. So the bytes are looked at once more, for the name of the attack
alone; nothing here lets anything by. Names are those of the TUF specification 1.0.34, section
1.5.2.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar
from urllib.parse import unquote

from tuf.api.exceptions import (
    BadVersionNumberError,
    DownloadHTTPError,
    ExpiredMetadataError,
    LengthOrHashMismatchError,
    RepositoryError,
    UnsignedMetadataError,
)
from tuf.api.metadata import (
    Metadata,
    Root,
    Signed,
    Snapshot,
    Targets,
    Timestamp,
    VerificationResult,
)
from tuf.api.serialization import DeserializationError, SerializationError

from edge.agent.connection import unreachable
from edge.agent.quoting import quoted
from firnline.errors import DeliveryError

S = TypeVar("S", bound=Signed)
_TOP = {Root.type, Timestamp.type, Snapshot.type, Targets.type}
_IMPLAUSIBLE = timedelta(days=366)
_KEEP = "the device keeps what it runs"
_RENEW = f"renew the channel with `firnline channel expire`; {_KEEP}"
_SUSPECT = f"see who answers for the channel and whether a key of it is stolen; {_KEEP}"


@dataclass(frozen=True)
class Seen:
    """What lay on the table when metadata were refused.

    Attributes:
        trusted: Metadata that were verified.
        path: Of the metadata that came last.
        content: Their bytes.
        now: The time they were held to.
    """

    trusted: Sequence[Signed]
    path: str
    content: bytes
    now: datetime

    @property
    def role(self) -> str:
        """Role whose metadata came last: `cpu-1f` of `metadata/12.cpu-1f.json`."""
        name = unquote(self.path.rpartition("/")[2]).removesuffix(".json")
        version, dot, rest = name.partition(".")
        return rest if dot and version.isdigit() else name

    def one(self, kind: type[S]) -> S | None:
        """The verified metadata of a top-level role that stands alone."""
        return next((signed for signed in self.trusted if isinstance(signed, kind)), None)

    def parsed(self) -> Metadata[Any] | None:
        """The metadata that came last; None when they are none."""
        try:
            return Metadata.from_bytes(self.content)
        except DeserializationError:
            return None


def refusal(error: Exception, seen: Seen) -> DeliveryError:
    """The error that names an attack.

    Args:
        error: What python-tuf raised.
        seen: What it was working on.

    Returns:
        U1 to U8, U16, U17 or U18.
    """
    # An expired timestamp hides behind what fails next, since nothing below it is loaded any more.
    expired = next(_expired(seen, isinstance(error, ExpiredMetadataError)), None)
    if expired:
        return late(*expired, seen.now)
    if isinstance(error, DownloadHTTPError):
        return unreachable(str(error), seen.path)
    if isinstance(error, UnsignedMetadataError):
        return _unsigned(seen)
    if isinstance(error, LengthOrHashMismatchError):
        return _unlike(seen)
    if isinstance(error, BadVersionNumberError):
        return _version(seen, str(error))
    found = seen.parsed()
    kind = seen.role if seen.role in _TOP else Targets.type
    # The bare class stands for a role that the snapshot lacks, and for one of another type.
    if type(error) is RepositoryError and (found is None or found.signed.type == kind):
        return _named("U8", f"mix-and-match: {error}", seen.path, _SUSPECT)
    cause = error.__cause__ or error
    told = f"{type(cause).__name__}: {quoted(cause, 160)}"
    said = "" if cause is error else quoted(error, 160)
    told = ": ".join(part for part in (said, told) if part)
    return _named("U16", f"malformed metadata: {told}", seen.path, _SUSPECT)


def _expired(seen: Seen, refused: bool) -> Iterator[tuple[str, datetime]]:
    """Roles that are past their time, and until when they held."""
    # The timestamp of the last poll may have expired since, which says nothing of the one that came
    # now, nor of the root before it.
    behind = seen.role not in {Root.type, Timestamp.type}
    for signed in seen.trusted:
        counts = refused or (behind and isinstance(signed, Timestamp))
        if counts and signed.type != Targets.type and signed.is_expired(seen.now):
            yield signed.type, signed.expires
    found = seen.parsed()
    if refused and found is not None:
        yield seen.role, found.signed.expires


def late(role: str, expires: datetime, now: datetime) -> DeliveryError:
    """The error for metadata past their time: U5 for the timestamp, U4 for others, U18 by years."""
    freeze = role == Timestamp.type
    told = f"{role} expired at {expires:%Y-%m-%dT%H:%M:%SZ}, here it is {now:%Y-%m-%dT%H:%M:%SZ}"
    name = "freeze: nothing newer comes" if freeze else "expired role"
    if now - expires > _IMPLAUSIBLE:
        return _named(
            "U18",
            f"{name}, or a clock that cannot be right: {told}",
            "the device's clock",
            f"set the clock; if it is right, {_RENEW}",
        )
    return _named("U5" if freeze else "U4", f"{name}: {told}", role, _RENEW)


def _unsigned(seen: Seen) -> DeliveryError:
    """Whether keys were wrong, or too few."""
    found = seen.parsed()
    # One at a time: keys that a new root brings itself are not looked at before the old one's.
    results = _results(seen, found) if found is not None else ()
    result = next((result for result in results if not result), None)
    if found is None or result is None:
        return _named("U16", "malformed metadata: no role signs them", seen.path, _SUSPECT)
    good, needed = len(result.signed), result.threshold
    told = f"{good} of {needed} signatures needed by keys of {seen.role}"
    strangers = len(found.signatures.keys() - result.signed.keys())
    if strangers and not good:
        return _named("U2", f"wrong key: {told}, {strangers} by others", seen.path, _SUSPECT)
    return _named("U3", f"below threshold: {told}", seen.path, _SUSPECT)


def _results(seen: Seen, found: Metadata[Any]) -> Iterator[VerificationResult]:
    """How the signatures stand, for everyone who has a say in the role."""
    try:
        payload = found.signed_bytes
    except SerializationError:  # A fraction, or half a character: canonical JSON has neither.
        return
    delegators = [signed for signed in seen.trusted if isinstance(signed, Root | Targets)]
    # A root is signed by the one before it, and by itself.
    if isinstance(found.signed, Root):
        delegators.append(found.signed)
    for delegator in delegators:
        try:
            yield delegator.get_verification_result(seen.role, payload, found.signatures)
        except ValueError:  # It has no say in this role.
            continue


def _unlike(seen: Seen) -> DeliveryError:
    """Metadata of another time, or no metadata at all, where a hash was signed."""
    found = seen.parsed()
    if found is not None and any(_results(seen, found)):
        told = f"version {found.signed.version} of {seen.role} is not the one that belongs here"
        return _named("U8", f"mix-and-match: {told}", seen.path, _SUSPECT)
    return _named(
        "U1", "arbitrary software: metadata have not the signed digest", seen.path, _SUSPECT
    )


def _version(seen: Seen, told: str) -> DeliveryError:
    found = seen.parsed()
    signed = found.signed if found is not None else None
    timestamp = seen.one(Timestamp)
    if isinstance(signed, Timestamp) and timestamp and signed.version < timestamp.version:
        told = f"version {signed.version}, after version {timestamp.version} was seen"
        return _named("U7", f"replayed timestamp: {told}", seen.path, _SUSPECT)
    root = seen.one(Root)
    older = (
        isinstance(signed, Timestamp)
        or (isinstance(signed, Root) and root is not None and signed.version <= root.version)
        or (
            isinstance(signed, Snapshot)
            and timestamp is not None
            and signed.version == timestamp.snapshot_meta.version
        )
    )
    name, code = ("rollback", "U6") if older else ("mix-and-match", "U8")
    return _named(code, f"{name}: {told}", seen.path, _SUSPECT)


def _named(code: str, found: str, where: str, mend: str) -> DeliveryError:
    return DeliveryError(code, found=quoted(found, 400), where=where, mend=mend)
