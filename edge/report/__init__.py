"""What a model takes on a chip, and what was shown of it: JSON, Markdown and a page with plots."""

import json
from collections.abc import Mapping
from typing import Any

from edge.export.make import PROOF, Built
from edge.report.document import document
from edge.report.html import page
from edge.report.markdown import markdown
from edge.report.vectors import vectors

__all__ = ["document", "files_of", "markdown", "page"]


def files_of(built: Built) -> dict[str, bytes]:
    """Everything an edge team gets for one target, by its place in the folder.

    The artifact's own files, `proof.json`, `report.json`, `report.md`, `report.html` and the
    vectors the proof was made on.
    """
    report = document(built)
    return {
        **built.artifact.files,
        PROOF: pretty(built.proof.document()),
        "report.json": pretty(report),
        "report.md": markdown(report).encode(),
        "report.html": page(report).encode(),
        **vectors(built),
    }


def pretty(value: Mapping[str, Any]) -> bytes:
    """JSON for people; equal values give equal bytes.

    Raises:
        ValueError: A float is NaN or infinite.
    """
    text = json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)
    return f"{text}\n".encode()
