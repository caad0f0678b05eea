"""Which stages a training is about, when only some are asked for."""

import pytest

from firnline.contracts.ensemble import Ensemble
from firnline.errors import HandshakeError
from flows.kept import again, kept_stages


def stage(name: str, *upstream: str) -> dict[str, object]:
    return {
        "name": name,
        "recipe": "recipes:Any",
        "features": ["view@v1"],
        "upstream": list(upstream),
        "outputs": [{"name": "out"}],
    }


CHAIN = Ensemble.model_validate(
    {
        "ensemble": {"name": "chain", "entity": "thing"},
        "features": {"module": "none"},
        "stage": [
            stage("first"),
            stage("second", "first.out"),
            stage("third", "second.out"),
            stage("aside"),
        ],
        "decide": {"output": "third.out"},
    }
)


@pytest.mark.parametrize(
    ("only", "chain", "trained"),
    [
        (None, True, ("first", "second", "third", "aside")),
        (None, False, ("first", "second", "third", "aside")),
        (["first"], True, ("first", "second", "third")),
        (["first"], False, ("first",)),
        (["third", "aside"], True, ("third", "aside")),
        (["second"], True, ("second", "third")),
    ],
)
def test_a_chain_follows_what_reads_it(only, chain, trained) -> None:
    assert again(CHAIN, only, chain=chain) == trained


@pytest.mark.parametrize("only", [["fourth"], []])
def test_what_is_no_stage_is_named(only) -> None:
    with pytest.raises(HandshakeError) as caught:
        again(CHAIN, only, chain=True)
    assert caught.value.code == "M15"
    assert "first, second, third, aside" in caught.value.found


def test_nothing_can_be_kept_before_the_first_training() -> None:
    with pytest.raises(HandshakeError) as caught:
        kept_stages(CHAIN, ("first",), None, None)
    assert caught.value.code == "M16"
    assert "second, third, aside" in caught.value.found
    assert kept_stages(CHAIN, ("first", "second", "third", "aside"), None, None) == {}
