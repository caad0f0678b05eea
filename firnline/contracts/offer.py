"""An offer: a release that is exported and waits for somebody's word before it is published.

Of an ensemble's offers the newest alone can be approved. That an older one is superseded is told
from the numbers of those beside it and written nowhere, so it holds from the very moment at which
the newer one is there, whatever is killed then.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from firnline.contracts.places import plain, sha256
from firnline.digest import canonical_json
from firnline.errors import EvidenceError

FORMAT = "firnline-offer/1"
ACCEPT = "accept"
MAX_NAME = 100
"""Characters of the name of whoever gives their word."""
Verdict = Literal["waiting", "published", "refused", "superseded"]
_WRITTEN = ("waiting", "published", "refused")


@dataclass(frozen=True)
class Offer:
    """A release and what became of its offer.

    Attributes:
        ensemble: Its name.
        release: Digest of the bundle.
        track: The track it is offered to.
        targets: Target -> verdict of its proof.
        judged: Gate -> verdict and reason, such as those of shadow and drift.
        verdict: `waiting`, `published`, `refused`, or `superseded` by a newer offer.
        by: Who gave their word; empty while it waits.
        reason: Why, in one sentence.
        number: Greater with every offer of the ensemble, from 1; 0 before it is made.
    """

    ensemble: str
    release: str
    track: str
    targets: Mapping[str, str] = field(default_factory=dict)
    judged: Mapping[str, str] = field(default_factory=dict)
    verdict: Verdict = "waiting"
    by: str = ""
    reason: str = ""
    number: int = 0

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

    def beside(self, others: Iterable["Offer"]) -> "Offer":
        """The offer as it stands among all of its ensemble: superseded where a newer one is."""
        newer = [other for other in others if other.number > self.number]
        if self.verdict != "waiting" or not newer:
            return self
        by = min(newer, key=lambda other: other.number)
        return replace(
            self, verdict="superseded", reason=f"release {by.release[:12]} was offered after it"
        )


def refusal(offer: Offer) -> EvidenceError:
    """Why a superseded offer cannot be approved: E98."""
    return EvidenceError(
        "E98",
        found=f"the offer is superseded: {offer.reason}",
        where=f"release {offer.release[:12]} of {offer.ensemble}",
        mend="approve the newest; to publish this one all the same, `firnline channel publish "
        "--bundle FOLDER`, or offer it again by a run with its inputs",
    )


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
        if found.pop("format") != FORMAT or found["verdict"] not in _WRITTEN:
            raise ValueError("another format or verdict")
        offer = Offer(**found)
        sha256(offer.release)
        if type(offer.number) is not int:
            raise ValueError("its number is none")
        return offer
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise EvidenceError(
            "E95",
            found=f"no readable offer: {type(error).__name__}: {error}",
            where=where,
            mend="remove the file; the next export offers the release again",
        ) from error
