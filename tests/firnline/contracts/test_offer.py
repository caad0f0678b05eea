"""An offer survives its file, and what is no offer is told."""

from dataclasses import replace

import pytest

from firnline.contracts.offer import Offer, parse, refusal, render
from firnline.errors import DeliveryError, EvidenceError

_ROW = ((1, "a"), (2, "b"), (3, "c"))
OFFER = Offer("refrigeration", "a" * 64, "beta", {"cpu-arm64": "not run"}, {"drift": "stable: |"})


def test_an_offer_is_what_its_text_says() -> None:
    settled = OFFER.settled("refused", "Ada", "too early")
    assert parse(render(OFFER), "here") == OFFER
    assert parse(render(settled), "here") == settled
    assert (settled.verdict, settled.by, settled.reason) == ("refused", "Ada", "too early")
    assert OFFER.name == "refrigeration-aaaaaaaaaaaa"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        render(OFFER).replace("offer/1", "offer/2"),
        render(OFFER).replace("waiting", "perhaps"),
        render(OFFER).replace('"by"', '"buy"'),
        render(OFFER).replace('"number":0', '"number":"0"'),
        render(OFFER).replace("waiting", "superseded"),
    ],
)
def test_what_is_no_offer_is_told_with_its_place(text: str) -> None:
    with pytest.raises(EvidenceError, match=r"E95.*offers/one\.json") as caught:
        parse(text, "offers/one.json")
    assert caught.value.code == "E95"


def test_a_release_that_is_no_digest_is_refused() -> None:
    with pytest.raises(DeliveryError, match="U11"):
        parse(render(OFFER).replace("a" * 64, "../../etc"), "here")


def test_a_newer_offer_supersedes_one_that_waits_and_no_other() -> None:
    first, second, third = (replace(OFFER, release=each * 64, number=n) for n, each in _ROW)
    assert third.beside([first, second, third]) == third
    old = first.beside([third, second, first])
    assert (old.verdict, old.reason) == ("superseded", "release bbbbbbbbbbbb was offered after it")
    refused = first.settled("refused", "Ada", "no")
    assert refused.beside([second, third]) == refused


def test_why_a_superseded_offer_cannot_be_approved() -> None:
    old = replace(OFFER, number=1).beside([replace(OFFER, release="b" * 64, number=2)])
    error = refusal(old)
    assert (error.code, error.found) == (
        "E98",
        "the offer is superseded: release bbbbbbbbbbbb was offered after it",
    )
    assert "aaaaaaaaaaaa" in error.where
