"""Offers on disk: one small file a release, from the day it is exported until it is settled."""

from dataclasses import dataclass, replace
from pathlib import Path

from firnline.adapters.artifact_store import locked, write_atomically
from firnline.contracts.offer import Offer, Verdict, parse, render
from firnline.contracts.places import plain

_DIGITS = 12 * "[0-9a-f]"
"""Of a file's name, so that `pump` does not read what is of `pump-2`."""


@dataclass(frozen=True)
class OfferFolder:
    """The offers of a project.

    Attributes:
        root: Folder that holds them.
    """

    root: Path

    def offer(self, offer: Offer) -> Offer:
        """Put a release forward, before all that wait of its ensemble.

        One that was offered before stays as it is, but one that was superseded is the newest again.

        Returns:
            The offer as it stands.
        """
        with locked(self.root / ".lock"):
            known = self.get(offer.ensemble, offer.release)
            if known is not None and known.verdict != "superseded":
                return known
            standing = self._read(offer.ensemble)
            made = replace(offer, number=1 + max((each.number for each in standing), default=0))
            write_atomically(self._path(made), render(made))
            return made

    def settle(
        self, ensemble: str, release: str, *, verdict: Verdict, by: str, reason: str
    ) -> Offer | None:
        """Write down somebody's word on a release.

        A refused or superseded release may still be published; a published one is never refused
        afterwards.

        Returns:
            The offer as it stands; None where it was never offered.
        """
        with locked(self.root / ".lock"):
            known = self.get(ensemble, release)
            if known is None or known.verdict in {"published", verdict}:
                return known
            if known.verdict == "superseded" and verdict == "refused":
                return known
            settled = known.settled(verdict, by, reason)
            write_atomically(self._path(settled), render(settled))
            return settled

    def get(self, ensemble: str, release: str) -> Offer | None:
        """The offer of a release, as it stands; None where it was never offered.

        Raises:
            EvidenceError: E95, a file of the ensemble is no offer.
        """
        path = self._path(Offer(ensemble, release, ""))
        if not path.is_file():
            return None
        return _parsed(path).beside(self._read(ensemble))

    def waiting(self) -> list[Offer]:
        """Every offer that waits, by name: at most one of an ensemble.

        Raises:
            EvidenceError: E95, a file is no offer.
        """
        found = [_parsed(path) for path in sorted(self.root.glob("*.json"))]
        standing = [
            offer.beside(other for other in found if other.ensemble == offer.ensemble)
            for offer in found
        ]
        return [offer for offer in standing if offer.verdict == "waiting"]

    def _read(self, ensemble: str) -> list[Offer]:
        """Every offer of an ensemble, as it was written."""
        return [_parsed(path) for path in self.root.glob(f"{plain(ensemble)}-{_DIGITS}.json")]

    def _path(self, offer: Offer) -> Path:
        return self.root / f"{offer.name}.json"


def _parsed(path: Path) -> Offer:
    return parse(path.read_text(encoding="utf-8", errors="replace"), str(path))
