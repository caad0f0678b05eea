import os
import subprocess

import pytest

from tests.resources.project import COMMAND


def complete(words: str, place: int) -> str:
    """What bash is offered after these words."""
    done = subprocess.run(
        [str(COMMAND)],
        env={
            "PATH": os.environ["PATH"],
            "_FIRNLINE_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(place),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout


@pytest.mark.parametrize(
    ("words", "place", "offered"),
    [("firnline si", 1, "simulate"), ("firnline run ref", 2, "refrigeration")],
)
def test_the_shell_completes(words: str, place: int, offered: str) -> None:
    assert offered in complete(words, place).split()
