from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from feature_repo.refrigeration.transforms import VIEWS
from firnline.adapters.feast_objects import feature_view
from firnline.contracts.lock import Lock, add, render
from firnline.errors import HandshakeError
from tests.firnline.adapters.feast_online import repository

Fresh = Callable[[], dict[str, Any]]


def apply(folder: Path, online: dict[str, Any], objects: list[Any]) -> Any:
    store = repository.feast(folder, online)
    with repository.as_feast_warns():
        store.apply(objects)
    return store


def tables(store: Any) -> set[str]:
    rows = store._get_provider().online_store.rows(store.config)
    return {
        name for name in ("window_v1", VIEWS[0].table) if rows.digest(f"fleet_{name}") is not None
    }


def test_rows_of_a_version_in_the_lock_outlive_a_registry_without_a_guard(
    fresh: Fresh, tmp_path: Path
) -> None:
    online = fresh()
    (tmp_path / "features.lock").write_text(render(add(Lock(), [VIEWS[0]])), encoding="utf-8")
    published, other = feature_view(VIEWS[0]), repository.view(tmp_path)
    store = apply(tmp_path, online, [repository.DEVICE, published, other])
    assert tables(store) == {"window_v1", VIEWS[0].table}
    with repository.as_feast_warns():
        store.apply([], objects_to_delete=[published, other], partial=False)
    assert tables(store) == {VIEWS[0].table}
    apply(tmp_path, online, [repository.DEVICE, published, other])
    with (
        repository.as_feast_warns(),
        pytest.raises(HandshakeError, match=rf"\[N6\].*{VIEWS[0].reference}"),
    ):
        store.teardown()
    assert tables(store) == {"window_v1", VIEWS[0].table}


def test_a_teardown_of_what_no_lock_holds(fresh: Fresh, tmp_path: Path) -> None:
    store = apply(tmp_path, fresh(), [repository.DEVICE, repository.view(tmp_path)])
    with repository.as_feast_warns():
        store.teardown()
    assert tables(store) == set()


def test_what_is_more_than_columns_goes_feasts_way(fresh: Fresh, tmp_path: Path) -> None:
    """Feast validates rows on its way, so a view that asks for it is not written past that."""
    view = repository.view(tmp_path)
    view.enable_validation = True
    store = repository.feast(tmp_path, fresh())
    data = repository.table(3, first=[1.0, 2.0, 3.0], second=[None, 5.0, 6.0])
    repository.materialized(store, tmp_path, [repository.DEVICE, view], data)
    found = repository.read(store, ["window_v1:second"], ["d2", "d0"]).to_dict()
    assert found["second"] == [6.0, None]
    broken = data.drop_columns(["second"]).append_column("second", [["a", "b", "c"]])
    with pytest.raises(Exception, match="str"):
        repository.materialized(store, tmp_path, [repository.DEVICE, view], broken)
    assert repository.read(store, ["window_v1:second"], ["d2"]).to_dict()["second"] == [6.0]


def test_a_later_materialisation_keeps_newer_rows(fresh: Fresh, tmp_path: Path) -> None:
    store = repository.feast(tmp_path, fresh())
    view = repository.view(tmp_path)
    objects = [repository.DEVICE, view]
    first = repository.table(2, first=[1.0, 2.0], second=[1.0, 2.0])
    repository.materialized(store, tmp_path, objects, first)
    ends = [repository.END - timedelta(hours=1), repository.END]
    second = repository.table(2, first=[5.0, 6.0], second=[5.0, 6.0]).set_column(
        1, "window_end", [ends]
    )
    repository.materialized(store, tmp_path, objects, second)
    found = repository.read(store, ["window_v1:first"], ["d0", "d1"]).to_dict()
    assert found["first"] == [1.0, 6.0]
