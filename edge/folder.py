"""Folders that are written whole or not at all, and the JSON in them."""

import glob
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from psutil import pid_exists


def pretty(document: Mapping[str, Any]) -> bytes:
    """JSON for people that is still canonical: sorted keys, two blanks, one newline at the end.

    Raises:
        ValueError: A float is NaN or infinite.
    """
    text = json.dumps(document, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)
    return f"{text}\n".encode()


def write(out: Path, files: Mapping[str, bytes]) -> None:
    """Write a folder whole or not at all; one that is there is replaced.

    Args:
        out: The folder.
        files: Path within it -> bytes.

    Raises:
        ValueError: A path leaves the folder.
    """
    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    _sweep(out)
    partial.mkdir(parents=True)
    try:
        for name, content in files.items():
            pure = PurePosixPath(name)
            if pure.is_absolute() or ".." in pure.parts:
                raise ValueError(f"{name} leaves the folder")
            path = partial / pure
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        shutil.rmtree(out, ignore_errors=True)
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _sweep(out: Path) -> None:
    """Remove what writers of this folder left that were killed."""
    for left in out.parent.glob(f".{glob.escape(out.name)}.*.partial"):
        writer = left.name.split(".")[-2]
        if not writer.isdigit() or int(writer) == os.getpid() or not pid_exists(int(writer)):
            shutil.rmtree(left, ignore_errors=True)
