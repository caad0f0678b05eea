"""An offer: a release that is exported and waits for somebody's word before it is published."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from firnline.contracts.places import plain, sha256
from firnline.digest import canonical_json
from firnline.errors import EvidenceError

FORMAT = "firnline-offer/1"
ACCEPT = "accept"
Verdict = Literal["waiting", "published", "refused"]
_VERDICTS = ("waiting", "published", "refused")


@dataclass(frozen=True)
class Offer:
    """A release and what became of its offer.

    Attributes:
        ensemble: Its name.
        release: Digest of the bundle.
        track: The track it is offered to.
        targets: Target -> verdict of its proof.
        judged: Gate -> verdict and reason, such as those of shadow and drift.
        verdict: `waiting`, `published` or `refused`.
        by: Who gave their word; empty while it waits.
        reason: Why, in one sentence.
    """

    ensemble: str
    release: str
    track: str
    targets: Mapping[str, str] = field(default_factory=dict)
    judged: Mapping[str, str] = field(default_factory=dict)
    verdict: Verdict = "waiting"
    by: str = ""
    reason: str = ""

    @property
    def name(self) -> str:
        """What its file is called: `refrigeration-6a593a9a74bb`."""
        return f"{plain(self.ensemble)}-{sha256(self.release)[:12]}"

    @property
    def command(self) -> str:
        """How to approve it at a terminal; what no proof accepts is left out."""
        return f"firnline channel publish {self.ensemble}{' --proved' if self.unproved else ''}"

    @property
    def proved(self) -> tuple[str, ...]:
        """Targets that a proof accepts."""
        return tuple(name for name, verdict in self.targets.items() if verdict == ACCEPT)

    @property
    def unproved(self) -> tuple[str, ...]:
        """Targets that no proof accepts; whoever approves says what becomes of them."""
        return tuple(name for name, verdict in self.targets.items() if verdict != ACCEPT)

    def settled(self, verdict: Verdict, by: str, reason: str) -> "Offer":
        """The offer once somebody has given their word."""
        return replace(self, verdict=verdict, by=by, reason=reason)


def render(offer: Offer) -> str:
    """The offer as canonical JSON."""
    return canonical_json({"format": FORMAT, **asdict(offer)})


def parse(text: str, where: str) -> Offer:
    """An offer from its text.

    Args:
        text: As `render` made it.
        where: What it was read from, for the error.

    Raises:
        EvidenceError: E95, it is no offer.
    """
    try:
        found: dict[str, Any] = json.loads(text)
        if found.pop("format") != FORMAT or found["verdict"] not in _VERDICTS:
            raise ValueError("another format or verdict")
        offer = Offer(**found)
        sha256(offer.release)
        return offer
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise EvidenceError(
            "E95",
            found=f"no readable offer: {type(error).__name__}: {error}",
            where=where,
            mend="remove the file; the next export offers the release again",
        ) from error
