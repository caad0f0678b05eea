"""IRIs are validated as ever, by the module itself; only a process that validates one loads it."""

import subprocess
import sys

PREFECT = """
import sys
import flows
import prefect.main

assert type(sys.modules["rfc3987_syntax"]).__name__ == "PutOff"
assert "lark" not in sys.modules
"""
VALIDATED = """
import sys
import flows
from flows.put_off import PutOff, put_off
from jsonschema import Draft7Validator

schema = {"format": "iri-reference"}
validator = Draft7Validator(schema, format_checker=Draft7Validator.FORMAT_CHECKER)
assert not validator.is_valid("https://example.org/a b")
assert validator.is_valid("https://example.org/\\u00e9")
assert not isinstance(sys.modules["rfc3987_syntax"], PutOff)
put_off()
assert not isinstance(sys.modules["rfc3987_syntax"], PutOff)
"""


def told(script: str) -> str:
    """What a process of its own says on its way to an error; nothing when all holds."""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    return done.stderr


def test_prefect_does_not_load_it() -> None:
    assert told(PREFECT) == ""


def test_an_iri_is_validated_by_it() -> None:
    assert told(VALIDATED) == ""
