"""What is live is run beside the candidate, or the verdict says why it cannot be."""

import json
from pathlib import Path

import numpy as np
import pytest

from edge.pack import pack
from edge.verify import read_manifest
from firnline import wiring
from firnline.errors import DeliveryError, EvidenceError
from firnline.workload import locate
from flows.shadow import _judge, _live_flags, live_bundle
from models.recipe import Frame
from tests.edge import small_bundles

COMPUTED = {"features": {"views": [{"label": "v@v1#dddddd"}], "training_set": "e" * 64}}


@pytest.fixture
def live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FIRNLINE_PROJECT", str(tmp_path))
    monkeypatch.setenv("FIRNLINE_HOME", ".firnline")
    wiring.settings.cache_clear()
    folder = tmp_path / ".firnline" / "live" / "refrigeration"
    pack(folder, small_bundles.contents())
    yield folder
    wiring.settings.cache_clear()


def test_the_live_model_takes_its_own_columns_by_name(live: Path) -> None:
    rows, names = small_bundles.rows(64), small_bundles.COLUMNS
    told = {"manifest": read_manifest(live), "folder": str(live)}
    flags = _live_flags(told, COMPUTED, Frame(rows, names))
    assert 0 < flags.sum() < len(flags)
    turned = Frame(
        np.insert(rows[:, ::-1], 2, 9.0, axis=1), ("v__d", "v__c", "v__e", "v__b", "v__a")
    )
    np.testing.assert_array_equal(_live_flags(told, COMPUTED, turned), flags)
    with pytest.raises(EvidenceError, match=r"E3.*v@v1#dddddd"):
        _live_flags(told, {"features": {"views": []}}, Frame(rows, names))


def test_a_live_bundle_of_another_format_leaves_a_candidate_to_promote(live: Path) -> None:
    path = live / "bundle.json"
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, "format": "firnline-bundle/3"}))
    found = live_bundle("refrigeration")
    assert found is not None
    before = {**COMPUTED, "train": {}, "export": {"bundle": "f" * 64}}
    decision = _judge(locate("refrigeration", live.parents[2]), before, found)
    assert (decision.verdict, decision.rules) == ("undecided", ("SH4",))
    assert "firnline-bundle/3" in decision.reason
    assert "firnline promote refrigeration --override" in decision.reason
    assert decision.inputs["live"] == found["digest"]


def test_a_live_bundle_that_was_altered_is_no_evidence(live: Path) -> None:
    path = live / "bundle.json"
    path.write_text(path.read_text().replace("small", "other"))
    with pytest.raises(DeliveryError, match="D6"):
        live_bundle("refrigeration")
