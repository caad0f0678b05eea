"""Offers on disk: put forward once, settled once, whole or not at all."""

from dataclasses import replace
from pathlib import Path

import pytest

from firnline.adapters.offer_folder import OfferFolder
from firnline.contracts.offer import Offer
from firnline.errors import EvidenceError

OFFER = Offer("small", "a" * 64, "beta")
OTHER = Offer("small", "b" * 64, "beta")


@pytest.fixture
def folder(tmp_path: Path) -> OfferFolder:
    return OfferFolder(tmp_path / "offers")


def test_a_release_is_offered_once(folder: OfferFolder) -> None:
    assert folder.offer(OFFER) == folder.offer(OFFER) == replace(OFFER, number=1)
    settled = folder.settle("small", "a" * 64, verdict="refused", by="Ada", reason="no")
    assert folder.offer(OFFER) == settled
    assert folder.offer(OTHER) == replace(OTHER, number=2)
    assert folder.waiting() == [replace(OTHER, number=2)]


def test_the_newest_offer_of_an_ensemble_alone_waits(folder: OfferFolder) -> None:
    another = folder.offer(Offer("small-2", "a" * 64, "beta"))
    folder.offer(OFFER)
    newest = folder.offer(OTHER)
    assert folder.waiting() == [another, newest]
    old = folder.get("small", "a" * 64)
    assert old is not None
    assert (old.verdict, old.by) == ("superseded", "")
    assert old.reason == "release bbbbbbbbbbbb was offered after it"
    # Whoever is asked says no more of it, and it stays the reason after a third one.
    assert folder.settle("small", "a" * 64, verdict="refused", by="Ada", reason="no") == old
    folder.offer(Offer("small", "c" * 64, "beta"))
    assert folder.get("small", "a" * 64) == old


def test_a_superseded_release_that_is_made_again_is_the_newest(folder: OfferFolder) -> None:
    for offer in (OFFER, OTHER, OFFER):
        made = folder.offer(offer)
    assert folder.waiting() == [made] == [replace(OFFER, number=3)]
    other = folder.get("small", "b" * 64)
    assert other is not None
    assert (other.verdict, other.reason) == (
        "superseded",
        "release aaaaaaaaaaaa was offered after it",
    )


def test_a_superseded_release_may_be_published_by_hand(folder: OfferFolder) -> None:
    folder.offer(OFFER)
    folder.offer(OTHER)
    found = folder.settle("small", "a" * 64, verdict="published", by="Ada", reason="yes")
    assert found is not None
    assert found.verdict == "published"
    assert folder.get("small", "a" * 64) == found


def test_a_published_release_stays_published(folder: OfferFolder) -> None:
    folder.offer(OFFER)
    folder.settle("small", "a" * 64, verdict="refused", by="Ada", reason="no")
    published = folder.settle("small", "a" * 64, verdict="published", by="Bo", reason="yes")
    again = folder.settle("small", "a" * 64, verdict="refused", by="Ada", reason="no")
    assert published == again == folder.get("small", "a" * 64)
    assert published is not None
    assert (published.verdict, published.by) == ("published", "Bo")


def test_what_was_never_offered_is_not_settled(folder: OfferFolder) -> None:
    assert folder.settle("small", "a" * 64, verdict="published", by="Ada", reason="") is None
    assert folder.waiting() == []
    assert not list(folder.root.glob("*.json"))


def test_a_damaged_offer_is_told_by_its_path(folder: OfferFolder) -> None:
    folder.offer(OFFER)
    (path,) = folder.root.glob("*.json")
    path.write_bytes(b"\xff{")
    with pytest.raises(EvidenceError, match=path.name):
        folder.waiting()
    folder.offer(Offer("small-2", "a" * 64, "beta"))
    assert folder.get("small-2", "a" * 64) is not None
    with pytest.raises(EvidenceError, match=path.name):
        folder.offer(OTHER)
