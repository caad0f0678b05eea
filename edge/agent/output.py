"""What a command says: a document or text on standard output, errors where they are looked for."""

import json
import os
import sys
from io import TextIOWrapper
from typing import Any

from edge.agent.quoting import quoted
from firnline.errors import DeliveryError, FirnlineError

_OUTPUT = "standard output"


def prepare() -> None:
    """Have a letter that the terminal lacks written as its number; on errors it is so already."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def document(found: dict[str, Any]) -> None:
    """Write one line of JSON.

    Raises:
        DeliveryError: U30, standard output cannot be written.
        BrokenPipeError: Who read it has gone.
    """
    text(json.dumps(found))


def text(told: str) -> None:
    """Write text and a new line, now.

    Raises:
        DeliveryError: U30, standard output cannot be written.
        BrokenPipeError: Who read it has gone.
    """
    try:
        print(told, flush=True)
    except BrokenPipeError:
        silence()
        raise
    except OSError as error:
        silence()
        raise DeliveryError(
            "U30",
            found=f"output that cannot be written: {error.strerror}",
            where=_OUTPUT,
            mend="send it where there is room; what the command did is done",
        ) from error


def silence() -> None:
    """What is left of the output has nowhere to go, and must not fail again at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def failure(error: FirnlineError, *, as_json: bool) -> None:
    """Tell an error: as JSON on standard output, unless that is what fails; else beside it."""
    if as_json and error.where != _OUTPUT:
        document(error.document())
    else:
        print(f"error [{error.code}] {error.found}", file=sys.stderr)
        print(f"  where  {error.where}\n  mend   {error.mend}", file=sys.stderr)


def named(error: OSError | ImportError) -> DeliveryError:
    """What ended a command that is none of the agent's own errors: U30."""
    if isinstance(error, ImportError):  # So does Ctrl-C end, while a library initializes.
        return DeliveryError(
            "U30",
            found=f"a library that cannot be loaded: {quoted(error)}",
            where=error.name or "the agent's environment",
            mend="run it again; where it says the same, install the agent anew, with its lock",
        )
    return DeliveryError(
        "U30",
        found=f"a file or folder that cannot be used: {error.strerror or error}",
        where=str(error.filename or "the agent's state"),
        mend="run it as the agent's own user, and see that the folder is there and writable",
    )
