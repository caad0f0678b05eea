"""Whatever comes from outside ends in an answer, or in an error of the project's own."""

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from firnline.errors import FirnlineError
from tests.fuzz.harness import HARNESSES
from tests.fuzz.inputs import HEADER, Harness
from tests.fuzz.mutate import mutant
from tests.fuzz.regressions import REGRESSIONS
from tests.fuzz.run import HANG_SECONDS, Watch, loop, replay, scratch

INPUTS = {"metadata": 600, "bundle": 1500, "segment": 3000}
ANSWERED = {"segment", "request"}
"""What is never refused: a torn log ends where it is torn, a wrong line is answered."""
_MOST_GROWTH = 20 << 20


@pytest.fixture
def folder() -> Iterator[Path]:
    with scratch() as made:
        yield made


def harness(name: str, folder: Path) -> Harness:
    return HARNESSES[name](folder)


@pytest.mark.parametrize("name", HARNESSES)
def test_mutants_of_what_is_right(name: str, folder: Path) -> None:
    made = harness(name, folder)
    watch, most = Watch(made.run, folder), INPUTS.get(name, 8000)
    loop(watch, list(made.seeds), Random(name), lambda: watch.executions >= most)  # noqa: S311
    assert watch.faults == {}
    assert (watch.refused > 0) == (name not in ANSWERED)
    assert watch.slowest < HANG_SECONDS


@pytest.mark.parametrize("name", HARNESSES)
def test_what_is_right_gets_through(name: str, folder: Path) -> None:
    made = harness(name, folder)
    made.run(made.seeds[0])


@pytest.mark.parametrize("wrong", REGRESSIONS)
def test_what_once_was_wrong(wrong: str, folder: Path) -> None:
    name, data = REGRESSIONS[wrong]
    with pytest.raises(FirnlineError):
        harness(name, folder).run(data)


@pytest.mark.parametrize("name", ["metadata", "bundle"])
def test_memory_does_not_grow(name: str, folder: Path) -> None:
    made, rng = harness(name, folder), Random(1)  # noqa: S311
    inputs = [mutant(seed, rng) for seed in made.seeds for _ in range(8)]
    assert replay(Watch(made.run, folder), [*made.seeds, *inputs], 1.0) < _MOST_GROWTH


def test_a_fault_is_kept_and_the_run_goes_on(tmp_path: Path) -> None:
    def run(data: bytes) -> None:
        if b"bad" in data:
            raise ZeroDivisionError

    watch = Watch(run, tmp_path)
    for data in (b"good", b"bad 1", b"bad 2", b"good"):
        watch(data)
    assert watch.executions == 4
    (place, file), *others = watch.faults.items()
    assert place.startswith("ZeroDivisionError at test_fuzz.py:") and not others
    assert (tmp_path / file).read_bytes() == b"bad 1"


def test_mutants_are_the_same_for_the_same_seed_and_keep_their_header() -> None:
    data = bytes(HEADER) + b'{"a": [1, {"b": "c"}], "d": null}'
    draws = (Random(7), Random(7))  # noqa: S311
    drawn = [[mutant(data, rng) for _ in range(200)] for rng in draws]
    assert drawn[0] == drawn[1]
    assert len(set(drawn[0])) > 100
    assert all(len(made) >= HEADER for made in drawn[0])
