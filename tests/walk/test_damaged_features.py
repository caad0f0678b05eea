"""Data of a published version is altered between two runs: found, named, and put back."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from firnline.adapters.feature_data import FeatureData
from firnline.errors import HandshakeError
from tests.resources.project import Project

TABLE = "device_window_v1"


def test_a_run_names_what_was_altered_and_restores_it(
    first: tuple[Project, dict[str, Any]], tmp_path: Path
) -> None:
    for name in (".firnline", "data", "refrigeration"):
        shutil.copytree(first[0].folder / name, tmp_path / name)
    shutil.copy(first[0].folder / "data.dvc", tmp_path)
    data = FeatureData(tmp_path / ".firnline" / "features" / "data")
    snapshot = data.head(TABLE)
    assert snapshot is not None
    overwritten, swapped, other = snapshot.parts[:3]
    content = {}
    for part in (overwritten, swapped, other):
        path = data.root / TABLE / part.file
        content[part.name] = path.read_bytes()
        path.chmod(0o644)
    (data.root / TABLE / overwritten.file).write_bytes(content[overwritten.name][::-1])
    (data.root / TABLE / swapped.file).write_bytes(content[other.name])
    with pytest.raises(HandshakeError):
        data.files(snapshot)

    project = Project(tmp_path, first[0].environment, first[0].prefix)
    done = project.json("train", "refrigeration")

    assert done["reused"]
    ledger = tmp_path / ".firnline" / "ledger" / "refrigeration.jsonl"
    told = [json.loads(line) for line in ledger.read_text().splitlines()]
    (damage,) = [entry for entry in told if entry.get("verdict") == "damaged"]
    assert all(name in damage["reason"] for name in (overwritten.name, swapped.name))
    assert len(data.files(data.snapshot(TABLE, snapshot.digest))) == len(snapshot.parts)
    assert (data.root / TABLE / overwritten.file).read_bytes() == content[overwritten.name]
