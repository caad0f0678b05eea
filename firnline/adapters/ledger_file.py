"""The ledger: one line a decision, appended, never altered."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from firnline.adapters.artifact_store import locked
from firnline.decision import Decision
from firnline.digest import canonical_json


@dataclass(frozen=True)
class FileLedger:
    """Decisions as JSON lines, one file an ensemble.

    Attributes:
        root: Folder of the ledgers.
    """

    root: Path

    def append(self, decision: Decision) -> str:
        """Keep a decision; the same decision is kept once.

        Returns:
            The decision's digest.
        """
        document = decision.document()
        path = self._path(decision.subject)
        with locked(path.with_suffix(".lock")):
            if all(kept["digest"] != document["digest"] for kept in self.read(decision.subject)):
                line = canonical_json(document).encode() + b"\n"
                descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
                try:
                    # A line cut by a killed run is closed first, so it stays one unreadable line.
                    if path.stat().st_size and path.read_bytes()[-1:] != b"\n":
                        line = b"\n" + line
                    os.write(descriptor, line)
                finally:
                    os.close(descriptor)
        return str(document["digest"])

    def read(self, subject: str) -> list[dict[str, Any]]:
        """Decisions about an ensemble, oldest first; a line cut by a killed run is left out."""
        path = self._path(subject)
        if not path.is_file():
            return []
        kept = []
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                kept.append(json.loads(line))
            except json.JSONDecodeError:
                continue
        return kept

    def _path(self, subject: str) -> Path:
        return self.root / f"{subject}.jsonl"
