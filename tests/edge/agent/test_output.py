import json
import sys
from io import BytesIO, TextIOWrapper
from pathlib import Path

import pytest

from edge.agent import output
from edge.agent.cli import main
from firnline.errors import DeliveryError


def test_a_letter_that_the_terminal_lacks_is_written_as_its_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written = BytesIO()
    monkeypatch.setattr(sys, "stdout", TextIOWrapper(written, "ascii"))
    output.prepare()
    output.text("grün \ud800")
    output.document({"id": "ü\ud800"})
    text, document = written.getvalue().splitlines()
    assert text == b"gr\\xfcn \\ud800"
    assert json.loads(document) == {"id": "ü\ud800"}


def test_output_that_has_no_room_is_named_and_fails_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        with pytest.raises(
            DeliveryError, match="output that cannot be written: No space"
        ) as caught:
            output.text("told")
        output.failure(caught.value, as_json=True)
    assert "error [U30]" in capsys.readouterr().err


def test_a_library_that_does_not_load_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "edge.agent.status", None)
    assert main(["status"]) == 1
    assert "error [U30] a library that cannot be loaded" in capsys.readouterr().err
