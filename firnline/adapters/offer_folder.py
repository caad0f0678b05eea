"""Offers on disk: one small file a release, from the day it is exported until it is settled."""

from dataclasses import dataclass
from pathlib import Path

from firnline.adapters.artifact_store import locked, write_atomically
from firnline.contracts.offer import Offer, Verdict, parse, render


@dataclass(frozen=True)
class OfferFolder:
    """The offers of a project.

    Attributes:
        root: Folder that holds them.
    """

    root: Path

    def offer(self, offer: Offer) -> Offer:
        """Put a release forward; one that was offered before stays as it is.

        Returns:
            The offer as it stands.
        """
        with locked(self.root / ".lock"):
            known = self.get(offer.ensemble, offer.release)
            if known is not None:
                return known
            write_atomically(self._path(offer), render(offer))
            return offer

    def settle(
        self, ensemble: str, release: str, *, verdict: Verdict, by: str, reason: str
    ) -> Offer | None:
        """Write down somebody's word on a release.

        A refused release may still be published; a published one is never refused afterwards.

        Returns:
            The offer as it stands; None where it was never offered.
        """
        with locked(self.root / ".lock"):
            known = self.get(ensemble, release)
            if known is None or known.verdict in {"published", verdict}:
                return known
            settled = known.settled(verdict, by, reason)
            write_atomically(self._path(settled), render(settled))
            return settled

    def get(self, ensemble: str, release: str) -> Offer | None:
        """The offer of a release; None where it was never offered.

        Raises:
            EvidenceError: E95, its file is no offer.
        """
        path = self._path(Offer(ensemble, release, ""))
        if not path.is_file():
            return None
        return parse(path.read_text(encoding="utf-8", errors="replace"), str(path))

    def waiting(self) -> list[Offer]:
        """Every offer that waits, by name.

        Raises:
            EvidenceError: E95, a file is no offer.
        """
        paths = sorted(self.root.glob("*.json"))
        found = [parse(p.read_text(encoding="utf-8", errors="replace"), str(p)) for p in paths]
        return [offer for offer in found if offer.verdict == "waiting"]

    def _path(self, offer: Offer) -> Path:
        return self.root / f"{offer.name}.json"
