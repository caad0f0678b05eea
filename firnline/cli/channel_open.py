"""What every `firnline channel` command needs: the folder, secrets, a confirmation, the ledger."""

import getpass
import os
import pwd
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from firnline import wiring
from firnline.decision import Decision
from firnline.errors import DeliveryError

if TYPE_CHECKING:
    from edge.channel.keys import Secrets
    from edge.channel.repository import Repository

LEDGER = "channel"
"""Subject of decisions about the channel itself, as about its keys."""


@dataclass(frozen=True)
class Where:
    """The channel a command works on.

    Attributes:
        channel: Its folder; the project's own when not given.
        passphrase: File that holds the passphrase of its keys.
        wait: Seconds to wait for another publisher.
    """

    channel: Path | None
    passphrase: Path | None
    wait: float = 0.0


def folder(chosen: Path | None) -> Path:
    """The channel's folder: the one that was named, or the project's own."""
    return wiring.settings().channel_folder if chosen is None else chosen.resolve()


def repository(where: Where) -> "Repository":
    """The channel, whose keys are asked for when they sign."""
    from edge.channel.repository import Repository

    return Repository(folder(where.channel), asking(where.passphrase), wait=where.wait)


def asking(file: Path | None = None, *, new: bool = False) -> "Secrets":
    """Where passphrases and PINs come from: a file, the environment, or whoever sits here.

    A secret is never an argument: those are seen by everybody on the machine.

    Args:
        file: Holds the passphrase in its first line.
        new: They are for keys that are being made: asked for twice, and once for all of them.
    """
    from edge.channel.keys import environment

    given: list[str] = []

    def ask(what: str) -> str:
        if file is not None and not what.startswith("pin "):
            return _first_line(file)
        try:
            return environment(what)
        except DeliveryError:
            if not sys.stdin.isatty():
                raise
        if new and given:
            return given[0]
        told = f"{what}{' (Enter: the same)' if given else ''}"
        answer: str = typer.prompt(
            told,
            default=given[-1] if given else None,
            hide_input=True,
            show_default=False,
            confirmation_prompt=new,
            err=True,
        )
        given.append(answer)
        return answer

    return ask


def confirm(question: str, *, yes: bool) -> None:
    """Ask before something that is not easily undone.

    Raises:
        DeliveryError: V34, there is nobody to ask.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise DeliveryError(
            "V34",
            found="nobody can be asked here",
            where=question,
            mend="say --yes if that is wanted",
        )
    typer.confirm(question, abort=True, err=True)


def pairs(given: list[str] | None, option: str) -> dict[str, str]:
    """Options of the form NAME=VALUE.

    Raises:
        BadParameter: One has no `=`.
    """
    found = {}
    for text in given or []:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise typer.BadParameter(f"{text!r} is not NAME=VALUE", param_hint=option)
        found[name] = value
    return found


def grouped(given: list[str] | None) -> dict[str, list[str]]:
    """Options `ROLE=URI` as role -> URIs, in the order they were given.

    Raises:
        BadParameter: One has no `=`.
    """
    found: dict[str, list[str]] = {}
    for text in given or []:
        for role, uri in pairs([text], "--key").items():
            found.setdefault(role, []).append(uri)
    return found


def whole_days(given: list[str] | None) -> dict[str, int]:
    """Options `ROLE=DAYS`.

    Raises:
        BadParameter: One has no `=`, or no whole number after it.
    """
    found = pairs(given, "--days")
    try:
        return {role: int(days) for role, days in found.items()}
    except ValueError as error:
        raise typer.BadParameter("give whole days, such as root=365") from error


def share(text: str) -> float:
    """A share of the fleet: `0.1` or `10%`.

    Raises:
        BadParameter: It is no number.
    """
    try:
        return float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is no share such as 0.1 or 10%") from error


def person(given: str | None) -> str:
    """Who does this: whom they name, else the account; its number where that has no name."""
    try:
        return given or getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"


def account() -> str:
    """Whose process this is, and on which machine: what the system says, and no variable."""
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        name = f"user {os.getuid()}"
    return f"{name}@{socket.gethostname()}"


def record(
    kind: str,
    verdict: str,
    *,
    subject: str,
    by: str,
    reason: str,
    numbers: Mapping[str, float | int | str | bool | None],
    inputs: Mapping[str, str],
) -> Decision:
    """Write down what was done, once: again after a kill, and not when nothing changed since.

    Args:
        kind: `publication`, `promotion`, `rollback` or `rotation`.
        verdict: What became of it, in one word.
        subject: The ensemble, or `channel`.
        by: Who did it, as they say; the account and the machine are written beside it.
        reason: Why, in one sentence.
        numbers: Figures that tell it from others of its kind.
        inputs: Name -> digest.
    """
    decision = Decision(
        kind=kind,
        subject=subject,
        verdict=verdict,
        reason=f"{by}: {reason}" if reason else by,
        rules=("command line",),
        numbers={"approver": by, "account": account(), **numbers},
        inputs=dict(inputs),
    )
    ledger = wiring.ledger()
    if not any(_told_of(decision, kept) for kept in ledger.read(subject)):
        ledger.append(decision)
    return decision


def _told_of(decision: Decision, kept: Mapping[str, Any]) -> bool:
    """Whether the ledger tells of the same change already, whoever is named there."""

    def change(document: Mapping[str, Any]) -> tuple[Any, ...]:
        numbers, inputs = document["numbers"], document["inputs"]
        which = [numbers.get(name) for name in ("track", "version", "role")]
        return document["kind"], which, inputs.get("bundle") or inputs

    return bool(change(kept) == change(decision.document()))


def _first_line(file: Path) -> str:
    try:
        if file.stat().st_mode & 0o077:
            raise _unusable(file, "others may read it", f"chmod 600 {file}")
        text = file.read_text(encoding="utf-8").partition("\n")[0].rstrip("\r")
    except (OSError, UnicodeDecodeError) as error:
        raise _unusable(file, type(error).__name__, "name a file of one line of text") from None
    if not text:
        raise _unusable(file, "its first line is empty", "put the passphrase there")
    return text


def _unusable(file: Path, found: str, mend: str) -> DeliveryError:
    return DeliveryError("V33", found=found, where=f"--passphrase-file {file}", mend=mend)
