"""SKAB by its published protocol, through the same doors as any ensemble."""

from pathlib import Path
from typing import Any

import pytest

from tests.resources.project import Project


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(tmp_path_factory.mktemp("skab"))


@pytest.fixture(scope="module")
def document(project: Project, shared_data: Path) -> dict[str, Any]:
    return project.json("run", "skab", "--data", str(shared_data / "skab" / "data"))


def test_our_ensemble(document: dict[str, Any]) -> None:
    metrics = document["metrics"]

    assert document["readings"] == 37_401
    assert metrics["rows"] == 37_401 - 34 * 400
    assert metrics["auc"] >= 0.87
    assert metrics["f1"] >= 0.77
    assert metrics["far"] <= 10
    assert document["parity"]["agreement"] >= 0.99


def test_the_table_stands_beside_the_published_one(document: dict[str, Any]) -> None:
    rows = {row["method"]: row for row in document["metrics"]["table"]}

    assert rows["Conv-AE"]["f1"] == 0.78
    assert rows["flag everything"]["far"] == 100
    assert round(rows["flag everything"]["f1"], 3) == 0.698
    assert [name for name, row in rows.items() if row["ours"]] == ["firnline: skab"]


def test_the_published_isolation_forest_is_reproduced(
    project: Project, document: dict[str, Any]
) -> None:
    metrics = project.json("run", "skab", "--protocol", "isolation-forest")["metrics"]

    assert round(metrics["f1"], 2) == 0.29
    assert round(metrics["far"], 2) == 2.56
    assert round(metrics["mar"], 1) == 82.9
