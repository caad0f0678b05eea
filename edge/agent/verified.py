"""A channel's metadata, brought up to date and verified; documents that they vouch for.

The client workflow of the TUF specification 1.0.34, section 5, as python-tuf's Updater does it. An
idle poll costs two requests: a newer root, which is not there, and the timestamp.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from securesystemslib.exceptions import Error as SecuresystemslibError
from tuf.api.exceptions import DownloadError, RepositoryError
from tuf.api.metadata import Metadata, Root, Signed, Snapshot, TargetFile, Targets, Timestamp
from tuf.api.serialization import DeserializationError
from tuf.ngclient import Updater, UpdaterConfig

from edge.agent.clock import SKEW, Clock
from edge.agent.fetch import Fetcher, arbitrary
from edge.agent.refusal import Seen, late, refusal
from edge.agent.space import unwritable
from edge.disk import Disk
from firnline.contracts.places import METADATA, TARGETS, sha256
from firnline.digest import bytes_digest, digest
from firnline.errors import DeliveryError

_CONFIG = UpdaterConfig(
    # Every poll begins at the root given by hand, so this is how many a channel may ever have.
    max_root_rotations=1 << 12,
    max_delegations=8,
    root_max_length=1 << 17,
    timestamp_max_length=1 << 12,
    snapshot_max_length=1 << 20,
    targets_max_length=1 << 20,
)
_DOCUMENTS = "documents"
_TUF = (
    RepositoryError, DownloadError, SecuresystemslibError, ValueError, TypeError, KeyError,
    AttributeError,
)  # fmt: skip


class _Updater(Updater):
    """An Updater that writes what changed: else each poll would wear the flash with its root."""

    def _persist_file(self, filename: str, data: bytes) -> None:
        with suppress(OSError):
            if Path(filename).read_bytes() == data:
                return
        super()._persist_file(filename, data)

    def _update_root_symlink(self) -> None:
        name = f"root_history/{self._trusted_set.root.version}.root.json"
        with suppress(OSError):
            if (Path(self._dir) / "root.json").readlink() == Path(name):
                return
        super()._update_root_symlink()


class Verified:
    """A channel as it is now, held to one root of trust.

    Args:
        folder: Where trusted metadata and documents are kept; python-tuf writes the former
            itself, whole but not synced, and what a power cut leaves of them is verified again.
        root: A root.json given by hand.
        disk: What writes.
        fetcher: The way to the channel.
        clock: What time it is.

    Attributes:
        unchanged: Whether the timestamp is the one that lay there before.
        issued: When the timestamp was signed; None when it does not say.

    Raises:
        DeliveryError: U1 to U10, U13, U16 to U18, U20 or U21.
    """

    def __init__(
        self, folder: Path, root: bytes, disk: Disk, fetcher: Fetcher, clock: Clock
    ) -> None:
        self._folder, self._disk, self._fetcher, self._now = folder, disk, fetcher, clock.now()
        timestamp = folder / f"{Timestamp.type}.json"
        disk.folder(folder)
        for torn in folder.glob("tmp*"):
            disk.remove(torn)
        before = timestamp.read_bytes() if timestamp.is_file() else b""
        fetcher.last = ("the root of trust given by hand/root.json", root)
        with self._refusing():
            self._updater = _Updater(
                str(folder), METADATA, fetcher=fetcher, config=_CONFIG, bootstrap=root
            )
        # An Updater takes no clock, and shows nothing of what it verified: this line is private
        # to it, as `_Updater` is, and what `tuf>=7.0.1,<8` in pyproject.toml is held to.
        self._trusted = self._updater._trusted_set
        self._trusted.reference_time = self._now
        with self._refusing(self._trusted):
            self._updater.refresh()
            self.issued = self._signed_time(None if _whole(before) else clock.floor)
        self.unchanged = timestamp.read_bytes() == before

    def target(self, path: str) -> TargetFile | None:
        """What the channel's roles sign for a path; None where they sign nothing.

        Raises:
            DeliveryError: As the class.
        """
        with self._refusing(self._trusted):
            return self._updater.get_targetinfo(path)

    def document(self, path: str, target: TargetFile, most: int) -> bytes:
        """A target's content: from the folder, or the channel where it is not there yet.

        Args:
            path: Its path.
            target: What `target` said of it.
            most: Most bytes it may have.

        Raises:
            DeliveryError: U1 it is not what was signed, U13 it is too large, U16 no sha256 was
                signed; else as the class.
        """
        where = f"{TARGETS}/{path}"
        named = digest_of(target, where)
        if target.length > most:
            raise DeliveryError(
                "U13",
                found=f"bomb: {target.length:,} bytes declared, {most:,} at most",
                where=where,
                mend="publish the release again; a document of a channel is small",
            )
        kept = self._folder / _DOCUMENTS / named
        if kept.is_file() and bytes_digest(content := kept.read_bytes()) == named:
            return content
        folder, _, name = where.rpartition("/")
        with self._refusing(self._trusted):
            content = self._fetcher.download_bytes(f"{folder}/{named}.{name}", target.length)
        if bytes_digest(content) != named:
            raise arbitrary("a document has not the signed digest", where)
        with self._refusing():
            self._disk.write(kept, content)
        return content

    def keep(self, *digests: str) -> None:
        """Drop documents that are none of these."""
        for path in (self._folder / _DOCUMENTS).glob("*"):
            if path.name not in digests:
                self._disk.remove(path)

    def expires(self, *roles: str) -> dict[str, datetime]:
        """Role -> end of its validity, for the top-level roles and those named that were read."""
        names = (Root.type, Timestamp.type, Snapshot.type, Targets.type, *roles)
        found = {name: self._trusted.get(name) for name in names}
        return {name: signed.expires for name, signed in found.items() if signed is not None}

    def keys(self, role: str) -> list[bytes]:
        """Ed25519 public keys of a role that targets delegates to, 32 bytes each.

        Raises:
            DeliveryError: U16, one of them is no key.
        """
        delegations = self._trusted.targets.delegations
        roles = (delegations.roles if delegations else None) or {}
        if delegations is None or role not in roles:
            return []
        with self._refusing(self._trusted):
            found = [delegations.keys[keyid] for keyid in roles[role].keyids]
            return [bytes.fromhex(key.keyval["public"]) for key in found if key.scheme == "ed25519"]

    def owners(self, role: str) -> str:
        """Digest of the keys, and of how many must sign, of a role that targets delegates to."""
        delegations = self._trusted.targets.delegations
        found = (delegations.roles or {}).get(role) if delegations else None
        with self._refusing(self._trusted):
            return digest([sorted(found.keyids), found.threshold]) if found else ""

    def _signed_time(self, floor: datetime | None) -> datetime | None:
        """When the timestamp was issued; whatever is loaded from here on is held to it as well.

        Args:
            floor: Latest signed time that was seen, where the timestamp that told it is lost and
                its version no longer keeps an older one out.
        """
        trusted, where = self._trusted, f"{METADATA}/{Timestamp.type}.json"
        self._fetcher.last = (where, b"")
        issued = issued_at(trusted.timestamp)
        if issued is None:
            return None
        if floor is not None and floor - issued > SKEW:
            raise DeliveryError(
                "U7",
                found=f"replayed timestamp: issued at {issued:%Y-%m-%dT%H:%M:%SZ}, after one of "
                f"{floor:%Y-%m-%dT%H:%M:%SZ} was seen",
                where=where,
                mend="see who answers for the channel; the device keeps what it runs",
            )
        # A stolen timestamp key could else move the clock of every device to the year 9999; as it
        # is, metadata that hold until after the root's end are believed again.
        if issued > min(trusted.timestamp.expires, trusted.root.expires):
            raise DeliveryError(
                "U18",
                found=f"a clock that cannot be right: a timestamp issued at "
                f"{issued:%Y-%m-%dT%H:%M:%SZ}, after it or the root expires",
                where=where,
                mend="set the publisher's clock, and publish again",
            )
        self._now = trusted.reference_time = max(self._now, issued)
        for signed in (trusted.root, trusted.snapshot, trusted.targets):
            if signed.is_expired(self._now):
                raise late(signed.type, signed.expires, self._now)
        return issued

    @contextmanager
    def _refusing(self, trusted: Iterable[Signed] = ()) -> Iterator[None]:
        """Name what python-tuf raises over metadata that were verified."""
        try:
            yield
        except OSError as error:
            raise unwritable(error, self._folder) from error
        except _TUF as error:
            raise refusal(error, Seen(tuple(trusted), *self._fetcher.last, self._now)) from error


def _whole(content: bytes) -> bool:
    """Whether a timestamp that was kept can still be read, whoever signed it."""
    try:
        return isinstance(Metadata.from_bytes(content).signed, Timestamp)
    except DeserializationError:
        return False


def issued_at(timestamp: Timestamp) -> datetime | None:
    """Signed time of a timestamp, in its field `issued`; None when it has none.

    Raises:
        ValueError: It is no time in UTC.
    """
    found = timestamp.unrecognized_fields.get("issued")
    if found is None:
        return None
    if not isinstance(found, str) or len(found) > 40:
        raise ValueError(f"issued is {str(found)[:40]!r}, no time")
    told = datetime.fromisoformat(found)
    if told.utcoffset() != timedelta(0):
        raise ValueError(f"issued is {found!r}, not in UTC")
    return told.astimezone(UTC)


def digest_of(target: TargetFile, where: str) -> str:
    """The sha256 that was signed for a target.

    Raises:
        DeliveryError: U16, none was.
    """
    try:
        return sha256(target.hashes.get("sha256"))
    except DeliveryError as error:
        raise DeliveryError(
            "U16", found="malformed metadata: no sha256 signed", where=where, mend=error.mend
        ) from error
