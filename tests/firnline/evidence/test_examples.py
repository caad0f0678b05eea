"""The examples in the docstrings run, and give what they say."""

import doctest
from types import ModuleType

import pytest

from firnline.evidence import (
    auc_difference,
    calibration,
    discordant,
    drift,
    rare_rate,
    reconcile,
    sampling,
    sequential,
)

MODULES = (
    auc_difference,
    calibration,
    discordant,
    drift,
    rare_rate,
    reconcile,
    sampling,
    sequential,
)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: str(module.__name__))
def test_examples(module: ModuleType) -> None:
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0
