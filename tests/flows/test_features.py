"""A version that stands for one snapshot of readings is computed from no other."""

from dataclasses import replace

import pytest

from feature_repo.refrigeration.transforms import VIEWS
from firnline.errors import HandshakeError
from flows.features import _same_readings

SNAPSHOT = "0" * 32 + ".dir"


def test_the_readings_are_part_of_a_version_that_names_them() -> None:
    bound = replace(VIEWS[0], snapshot=SNAPSHOT)
    assert bound.record()["snapshot"] == SNAPSHOT
    assert "snapshot" not in VIEWS[0].record()
    assert len({bound.digest(), VIEWS[0].digest(), replace(bound, snapshot="1").digest()}) == 3


def test_other_readings_are_refused() -> None:
    bound = tuple(replace(view, snapshot=SNAPSHOT) for view in VIEWS)
    _same_readings(VIEWS, {"dvc": "anything"})
    _same_readings(bound, {"dvc": SNAPSHOT})
    with pytest.raises(HandshakeError) as caught:
        _same_readings(bound, {"dvc": "f" * 32})
    assert caught.value.code == "FV10"
    assert all(view.reference in caught.value.found for view in bound)
    assert SNAPSHOT in caught.value.found and "f" * 32 in caught.value.found
