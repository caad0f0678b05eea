from pathlib import Path

import pytest

from benchmarks.two_writers import KINDS, TO_BE_ZERO, WRITERS, measure

pytestmark = pytest.mark.filterwarnings("ignore")
ROUNDS = 12


def test_of_two_clients_at_once_neither_loses_what_it_was_told(tmp_path: Path) -> None:
    found = measure(tmp_path, KINDS, ROUNDS)
    for kind, counts in found.items():
        assert {name: counts[name] for name in TO_BE_ZERO} == dict.fromkeys(TO_BE_ZERO, 0), kind
        assert counts["applied"] == ROUNDS * WRITERS
        assert counts["contested"] == ROUNDS
        assert counts["refused"] == ROUNDS * (WRITERS - 1)
        assert counts["reads"] > 0
