"""The fleet that has walked is served what it was trained on; an altered row is found."""

import shutil
import sqlite3
from contextlib import closing
from typing import Any

import numpy as np
import pytest

from feature_repo.refrigeration.transforms import VIEWS
from firnline.adapters.feast_online.codec import Column, pack, unpack
from firnline.adapters.feast_online.rows import Batch
from firnline.adapters.feast_online.sqlite_rows import SqliteRows
from tests.resources.project import Project


@pytest.fixture(scope="module")
def project(
    first: tuple[Project, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> Project:
    """A copy of the project that has walked."""
    folder = tmp_path_factory.mktemp("reconciled")
    for name in (".firnline", "data", "refrigeration"):
        shutil.copytree(first[0].folder / name, folder / name, symlinks=True)
    shutil.copy(first[0].folder / "data.dvc", folder)
    return Project(folder, first[0].environment, first[0].prefix)


def alter(project: Project, feature: str) -> None:
    """Move one value of one device's newest row in the online store, under its own digest."""
    file, table = project.folder / ".firnline" / "feast" / "online.db", f"firnline_{VIEWS[0].table}"
    with closing(sqlite3.connect(file)) as database:
        (key,) = database.execute(f'SELECT entity_key FROM "{table}" LIMIT 1').fetchone()
    rows = SqliteRows(file)
    (stored,) = rows.read(table, [key])
    assert stored is not None
    layout = rows.layout(stored.layout)
    columns = unpack(layout, [stored.row], [name for name, _ in layout.fields])
    moved = np.asarray(columns[feature].values) + 1
    columns[feature] = Column(moved, np.ones(1, np.bool_))
    packed = pack(layout, columns, 1)
    assert rows.write(table, layout.view, [Batch(layout, [key], [stored.event_us], [None], packed)])
    rows.close()


def test_three_sources_agree_until_a_row_is_altered(project: Project) -> None:
    agreed = project.json("reconcile", "refrigeration", "--sample", "30")
    assert agreed["verdict"] == "agree"
    numbers = agreed["numbers"]
    assert numbers["windows"] == 30 * len(VIEWS)
    assert numbers["values"] == 30 * sum(len(view.features) for view in VIEWS)
    assert numbers["values_differing"] == 0

    feature = VIEWS[0].features[0]
    alter(project, feature)
    done = project.run("reconcile", "refrigeration", "--json")
    assert done.returncode == 1
    for word in ("R2", f"{VIEWS[0].reference}:{feature}", "1 of ", "online"):
        assert word in done.stdout + done.stderr
