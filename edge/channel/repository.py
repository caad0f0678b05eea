"""A channel as its publisher holds it: folders, keys at hand, and one publisher at a time."""

import functools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from securesystemslib.signer import Key, Signer
from tuf.api.metadata import Metadata, Root, T, Targets

from edge.channel import config as configs
from edge.channel import keys
from edge.channel.lock import exclusive
from edge.channel.metadata import authority_of, signed
from edge.channel.state import State, read
from edge.disk import Disk, RealDisk
from firnline.contracts.places import METADATA
from firnline.errors import DeliveryError


def utc_now() -> datetime:
    """The time, in UTC."""
    return datetime.now(UTC)


class Repository:
    """A channel's folder, and who can sign here.

    Args:
        folder: Holds `channel.json`, `lock`, `ceremony/` and `public/`, which is served.
        secrets: Gives passphrases and PINs; each is asked for once.
        disk: Makes every change of files.
        now: The time, in UTC.
        wait: Seconds to wait for another publisher.
    """

    def __init__(
        self,
        folder: Path,
        secrets: keys.Secrets = keys.environment,
        disk: Disk | None = None,
        now: Callable[[], datetime] = utc_now,
        wait: float = 0.0,
    ) -> None:
        self.folder = folder
        self.public = folder / "public"
        self.ceremony = folder / "ceremony"
        self.secrets: keys.Secrets = functools.cache(secrets)
        self.disk = disk or RealDisk()
        self.now = now
        self.wait = wait
        self._signers: dict[str, Signer] = {}

    @functools.cached_property
    def config(self) -> configs.Config:
        """Where keys are, and periods.

        Raises:
            DeliveryError: V1 no channel, V12 its config cannot be read.
        """
        return configs.load(self.folder)

    def stands(self) -> bool:
        """Whether a channel was ever committed here."""
        return (self.public / METADATA / "timestamp.json").exists()

    def state(self) -> State:
        """What is committed, verified.

        Raises:
            DeliveryError: V1 no channel, V6 it does not verify.
        """
        return read(self.public)

    @contextmanager
    def locked(self) -> Iterator[State]:
        """Hold the channel alone; gives what is committed.

        Raises:
            DeliveryError: V1, V5 another publisher holds it, V6, V12.
        """
        configs.load(self.folder)
        with exclusive(self.folder / "lock", self.wait):
            # Whoever held the lock before may have changed keys.
            self.config = configs.load(self.folder)
            yield self.state()

    def signer(self, key: Key) -> Signer:
        """What signs with a key of a role.

        Raises:
            DeliveryError: V2, the key is not at hand; V3, its secret is wrong.
        """
        if key.keyid not in self._signers:
            uri = self.config.keys.get(key.keyid)
            if uri is None:
                raise DeliveryError(
                    "V2",
                    found=f"no URI for key {key.keyid[:12]}",
                    where=str(self.folder / configs.FILE),
                    mend="sign where the key is, with `firnline channel sign`",
                )
            self._signers[key.keyid] = keys.signer(uri, key, self.secrets)
        return self._signers[key.keyid]

    def signed(self, delegator: Root | Targets, role: str, payload: T) -> Metadata[T]:
        """A payload signed by every key of its role that is at hand.

        Raises:
            DeliveryError: V4, too few keys are at hand; V2 or V3, the one that is needed is not
                usable.
        """
        authority = authority_of(delegator, role)
        signers, problems = self.at_hand(authority.keys)
        if len(signers) < authority.threshold:
            if len(problems) == 1 or all(problem.code == "V3" for problem in problems):
                raise problems[0]
            raise too_few(role, len(signers), authority.threshold, problems)
        return signed(payload, signers)

    def at_hand(self, keys: Iterable[Key]) -> tuple[list[Signer], list[DeliveryError]]:
        """What signs with those of the keys that are usable here, and why the others are not."""
        signers, problems = [], []
        for key in keys:
            try:
                signers.append(self.signer(key))
            except DeliveryError as error:
                problems.append(error)
        return signers, problems

    def adopt(self, places: Mapping[str, str], dropped: Collection[str] = ()) -> None:
        """Learn where keys are, and forget those that no role names any more.

        Args:
            places: Key id -> URI; one that has the public half alone says nothing of where.
            dropped: Key ids.
        """
        kept = {keyid: uri for keyid, uri in self.config.keys.items() if keyid not in dropped}
        learnt = {keyid: uri for keyid, uri in places.items() if not keys.elsewhere(uri)}
        self.config = replace(self.config, keys={**kept, **learnt})
        configs.save(self.folder, self.config, self.disk)


def too_few(role: str, signatures: int, needed: int, why: list[DeliveryError]) -> DeliveryError:
    """V4: a threshold is not met."""
    reasons = "; ".join(f"{error.where}: {error.found}" for error in why)
    return DeliveryError(
        "V4",
        found=f"{signatures} of {needed} signatures" + (f" ({reasons})" if reasons else ""),
        where=f"the role {role}",
        mend="bring the keys, or have their holders sign with `firnline channel sign`",
    )
