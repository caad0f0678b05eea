"""Offers on disk: put forward once, settled once, whole or not at all."""

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
    assert folder.offer(OFFER) == OFFER
    settled = folder.settle("small", "a" * 64, verdict="refused", by="Ada", reason="no")
    assert folder.offer(OFFER) == settled
    assert folder.offer(OTHER) == OTHER
    assert folder.waiting() == [OTHER]


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
