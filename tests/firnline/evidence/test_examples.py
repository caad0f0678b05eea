"""The examples in the docstrings run, and give what they say."""

import doctest
from types import ModuleType

import pytest

from firnline.evidence import discordant, drift, rare_rate, sampling, sequential

MODULES = (discordant, drift, rare_rate, sampling, sequential)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: str(module.__name__))
def test_examples(module: ModuleType) -> None:
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0
