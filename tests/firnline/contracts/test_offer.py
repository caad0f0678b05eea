"""An offer survives its file, and what is no offer is told."""

import pytest

from firnline.contracts.offer import Offer, parse, render
from firnline.errors import DeliveryError, EvidenceError

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
    ],
)
def test_what_is_no_offer_is_told_with_its_place(text: str) -> None:
    with pytest.raises(EvidenceError, match=r"E95.*offers/one\.json") as caught:
        parse(text, "offers/one.json")
    assert caught.value.code == "E95"


def test_a_release_that_is_no_digest_is_refused() -> None:
    with pytest.raises(DeliveryError, match="U11"):
        parse(render(OFFER).replace("a" * 64, "../../etc"), "here")
