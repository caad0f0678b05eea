"""What `firnline walk` takes; the work is imported when it runs."""

from pathlib import Path
from typing import Annotated

import typer


def walk(
    answer: Annotated[
        str,
        typer.Argument(help="An answer's id or its first digits, its request, or `newest`."),
    ],
    log: Annotated[
        Path, typer.Option(help="A device's score log: its folder, or one segment of it.")
    ],
    channel: Annotated[
        Path | None, typer.Option(help="The channel's folder. Default: the project's own.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one machine-readable document.")
    ] = False,
) -> None:
    """Walk from one answer of a device to its raw readings.

    Release, graphs, score, features, training set and snapshot: every digest is computed again.
    """
    from firnline.cli.walk import walk_answer

    walk_answer(answer, log, channel, as_json=as_json)
