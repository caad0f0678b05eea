"""The trace of the fleet that has walked: every pair, refused where it is mixed, and kept."""

import json
import shutil
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

from firnline.adapters.mlflow_registry import TRACE, MlflowRegistry
from firnline.cli.trace import show
from firnline.digest import canonical_json
from flows.trace_page import page
from flows.trace_plot import plot
from tests.resources.project import Project

PAIRS = [(1, 1), (2, 2), (2, 1), (1, 2)]


@pytest.fixture(scope="module")
def traced(
    first: tuple[Project, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Project, dict[str, Any]]:
    """A copy of the project that has walked, traced."""
    folder = tmp_path_factory.mktemp("traced")
    for name in (".firnline", "data", "refrigeration"):
        # MLflow names its files by absolute path: a copy would write into the original.
        shutil.copytree(
            first[0].folder / name, folder / name, ignore=shutil.ignore_patterns("mlflow")
        )
    shutil.copy(first[0].folder / "data.dvc", folder)
    project = Project(folder, first[0].environment, first[0].prefix)
    return project, project.json("trace", "refrigeration")


def test_every_pair_is_measured_and_mixed_ones_are_refused(
    traced: tuple[Project, dict[str, Any]], first: tuple[Project, dict[str, Any]]
) -> None:
    _, document = traced

    assert (document["stage"], document["downstream"]) == ("encoder", ["classifier"])
    assert [draw["retraining"] for draw in document["draws"]] == ["week", *4 * ["fleet"]]
    for draw in document["draws"]:
        pairs = {(pair["upstream"], pair["downstream"]): pair for pair in draw["pairs"]}
        assert list(pairs) == PAIRS
        for (up, down), pair in pairs.items():
            assert pair["handshake"] == ("ok" if up == down else "H5")
            assert [breach["where"] for breach in pair["breaches"]] == (
                [] if up == down else ["stage classifier"]
            )
            assert up != down or pair["agreement"] == 1
        assert pairs[2, 1]["stages"]["encoder"] == pairs[2, 2]["stages"]["encoder"]
        assert pairs[2, 1]["stages"]["classifier"] == pairs[1, 1]["stages"]["classifier"]
    # Version 2 is what the main job trained.
    trained = {stage["name"]: stage["digest"] for stage in first[1]["stages"]}
    assert document["draws"][0]["pairs"][1]["stages"] == trained
    assert document["draws"][0]["pairs"][1]["auc"] == first[1]["metrics"]["auc"]


def test_the_summary_is_over_the_draws(traced: tuple[Project, dict[str, Any]]) -> None:
    _, document = traced

    for row in document["summary"]:
        places = [draw for draw in document["draws"] if draw["retraining"] == row["retraining"]]
        areas = [
            pair["auc"]
            for draw in places
            for pair in draw["pairs"]
            if (pair["upstream"], pair["downstream"]) == (row["upstream"], row["downstream"])
        ]
        assert row["draws"] == len(places) == len(areas)
        assert row["auc"]["mean"] == pytest.approx(sum(areas) / len(areas))
        assert (row["auc"]["low"], row["auc"]["high"]) == (min(areas), max(areas))
    assert len(document["summary"]) == 8


def test_the_files_hold_the_trace_and_ask_for_nothing(
    traced: tuple[Project, dict[str, Any]],
) -> None:
    _, document = traced
    files = {name: Path(path).read_text() for name, path in document["files"].items()}
    kept = json.loads(files["json"])

    assert kept["draws"] == document["draws"]
    assert canonical_json(kept) == files["json"]
    # The same figures give the same bytes.
    assert plot(kept) == files["svg"]
    assert page(kept, files["svg"]) == files["html"]
    ElementTree.fromstring(files["svg"])  # noqa: S314  It is ours.
    assert files["svg"].count("<circle") >= 5 * 4 * 4
    assert "src=" not in files["html"]
    assert files["html"].count("http") == 1, "the namespace of the SVG"
    assert "<b>H5</b> stage classifier" in files["html"]


def test_it_is_one_run_of_mlflow_however_often_it_is_logged(
    traced: tuple[Project, dict[str, Any]],
) -> None:
    project, document = traced
    registry = MlflowRegistry(project.folder / ".firnline")
    folder = Path(document["files"]["json"]).parent
    again = registry.log_trace("refrigeration", document["key"], metrics={}, tags={}, folder=folder)
    client = registry._client()
    experiment = client.get_experiment_by_name("refrigeration").experiment_id
    (run,) = client.search_runs([experiment], f"tags.`{TRACE}` = '{document['key']}'")

    assert again == document["mlflow"] == run.info.run_id
    assert run.info.status == "FINISHED"
    mixed = document["summary"][-1]
    assert run.data.metrics["fleet.v1_on_v2.auc"] == pytest.approx(mixed["auc"]["mean"])
    assert {"trace.html", "trace.svg", "trace.json"} <= {
        file.path for file in client.list_artifacts(run.info.run_id)
    }


def test_people_see_a_row_a_pair(
    traced: tuple[Project, dict[str, Any]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    _, document = traced
    show(document)
    shown = capsys.readouterr().out

    for name in ("v1 / v1", "v2 / v2", "v2 / v1", "v1 / v2"):
        lines = [line for line in shown.splitlines() if line.startswith(name)]
        assert len(lines) == 2
        assert all(("H5" in line) == (name[:2] != name[-2:]) for line in lines)
    assert document["files"]["html"] in shown
