import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from feast import FeatureStore
from feast.repo_config import RegistryConfig

from firnline.adapters.feast_guard import file_restore, published_file
from firnline.adapters.feast_guard.file_restore import restore
from firnline.adapters.feast_guard.file_store import FirnlineRegistryStore
from firnline.adapters.feast_guard.registry_objects import entries
from firnline.errors import HandshakeError
from tests.resources.feast_versions import (
    PROJECT,
    device,
    file_registry,
    line,
    opened,
    repository,
    service,
    source,
    view,
    write_lock,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A repository with `window@v1` in its lock, and nothing applied."""
    repo = repository(tmp_path / "repo", file_registry())
    write_lock(repo, line())
    return repo


@pytest.fixture
def published(folder: Path) -> Path:
    opened(folder).apply([device(), view(), service()])
    return folder


def registry_of(folder: Path) -> Path:
    return folder / "registry.db"


def record_of(folder: Path) -> Path:
    return folder / "registry.db.published"


def raw(folder: Path) -> FirnlineRegistryStore:
    return FirnlineRegistryStore(RegistryConfig(**file_registry()), folder)


def names(store: FeatureStore) -> set[str]:
    return {each.name for each in store.list_entities()} - {"__dummy"}


def entity(store: FeatureStore, name: str, **options: Any) -> None:
    store.registry.apply_entity(device(name=name, join_keys=[name]), PROJECT, **options)


def test_publishing_records_the_view_and_all_it_stands_on(published: Path) -> None:
    found = published_file.read(record_of(published)).entries
    assert [(entry.family, entry.name) for entry in found] == [
        ("entity", "device"),
        ("history", "window_v1@0"),
        ("service", "encoder_reads"),
        ("source", "window_v1"),
        ("view", "window_v1"),
    ]


def test_a_draft_may_change_until_its_line_is_in_the_lock(folder: Path) -> None:
    write_lock(folder)
    draft = [device(), view(source=source(path="elsewhere.parquet")), service()]
    opened(folder).apply(draft)
    opened(folder).apply([view(), service()])
    assert not record_of(folder).exists()
    write_lock(folder, line())
    opened(folder).apply([service(name="reader")])
    with pytest.raises(HandshakeError, match="G1"):
        opened(folder).apply([view(source=source(path="elsewhere.parquet"))])


def test_a_line_decides_in_a_fresh_registry_too(folder: Path) -> None:
    before = sorted(path.name for path in folder.iterdir())
    with pytest.raises(HandshakeError, match=r"G3.*window@v1.*ttl_seconds 3600 -> nothing"):
        opened(folder).apply([device(), view(ttl=None)])
    assert "registry.db.published" not in before
    assert not record_of(folder).exists()
    opened(folder).apply([device(), view()])


@pytest.mark.parametrize("names", ["more.lock", ["features.lock", "more.lock"]])
def test_the_lock_files_can_be_named(folder: Path, names: str | list[str]) -> None:
    shutil.copy(folder / "features.lock", folder / "more.lock")
    if isinstance(names, str):
        (folder / "features.lock").unlink()
    repository(folder, file_registry() | {"firnline_lock": names})
    opened(folder).apply([device(), view()])
    with pytest.raises(HandshakeError, match="G2"):
        opened(folder).delete_feature_view("window_v1")


def test_two_locks_that_contradict_each_other_are_refused(folder: Path) -> None:
    (folder / "more.lock").write_text(f"{line(ttl_seconds=60).text()}\n", encoding="utf-8")
    repository(folder, file_registry() | {"firnline_lock": ["features.lock", "more.lock"]})
    with pytest.raises(HandshakeError, match=r"L1.*ttl_seconds 3600 -> 60"):
        opened(folder).apply([device(), view()])


def test_what_a_published_service_comes_to_read_is_published_with_it(published: Path) -> None:
    opened(published).apply([view("extra@v1"), service(view(), view("extra@v1"), name="both")])
    with pytest.raises(HandshakeError, match=r"G1.*extra_v1 \(read by service both\)"):
        opened(published).apply([view("extra@v1", ttl=None)])


def test_a_write_from_a_state_that_is_gone_is_refused_and_nothing_is_lost(folder: Path) -> None:
    first, second = opened(folder), opened(folder)
    assert names(first) == names(second) == set()
    entity(first, "left", commit=False)
    entity(second, "right")
    before = registry_of(folder).read_bytes()
    with pytest.raises(HandshakeError, match="G20"):
        first.registry.commit()
    assert registry_of(folder).read_bytes() == before
    assert names(opened(folder)) == {"right"}
    entity(first, "left")
    assert names(opened(folder)) == names(first) == {"left", "right"}


def test_a_change_that_feast_forgets_before_it_commits_is_told(folder: Path) -> None:
    store = opened(folder)
    entity(store, "device")
    entity(store, "left", commit=False)
    store.refresh_registry()
    entity(store, "right", commit=False)
    with pytest.raises(HandshakeError, match=r"G20.*left in entities"):
        store.registry.commit()
    for name in ("left", "right"):
        entity(store, name)
    assert names(opened(folder)) == {"device", "left", "right"}


def test_a_change_that_is_made_again_after_a_fresh_read_is_no_loss(folder: Path) -> None:
    store = opened(folder)
    entity(store, "device")
    entity(store, "left", commit=False)
    store.refresh_registry()
    entity(store, "left")
    assert names(opened(folder)) == {"device", "left"}


def test_clients_that_start_at_once_make_one_registry(folder: Path) -> None:
    first, second = raw(folder), raw(folder)
    for store in (first, second):
        with pytest.raises(FileNotFoundError):
            store.get_registry_proto()
    entity(opened(folder), "device")
    empty = type(first.get_registry_proto())(registry_schema_version="1")
    second.update_registry_proto(empty)
    assert [each.spec.name for each in empty.entities] == ["device"]


def test_after_a_refusal_the_client_goes_on_with_what_is_on_the_disk(published: Path) -> None:
    store = opened(published)
    before = registry_of(published).read_bytes()
    with pytest.raises(HandshakeError, match=r"G1.*ttl_seconds 3600 -> 7200.*window_v2"):
        store.apply([view(ttl=2 * view().ttl), view("other@v1")])
    assert registry_of(published).read_bytes() == before
    assert [each.name for each in store.list_feature_views(allow_cache=True)] == ["window_v1"]
    store.apply([view("other@v1")])
    assert opened(published).get_feature_view("window_v1").ttl == view().ttl


def test_edits_that_change_no_value_are_written(published: Path) -> None:
    tags = view().tags | {"team": "cold chain"}
    opened(published).apply(
        [view(description="Window.", owner="me", tags=tags), device(description="A device.")]
    )
    found = opened(published).get_feature_view("window_v1")
    assert (found.description, found.owner, found.tags["team"]) == ("Window.", "me", "cold chain")
    assert len(published_file.read(record_of(published)).heads) == 1


def test_materialisation_is_no_change(published: Path) -> None:
    from datetime import UTC, datetime

    store = opened(published)
    times = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)
    store.registry.apply_materialization(view(), PROJECT, *times)
    assert len(opened(published).get_feature_view("window_v1").materialization_intervals) == 1


def test_the_same_names_in_another_project_are_held_apart(published: Path) -> None:
    store = opened(published)
    store.registry.apply_entity(device(join_keys=["other"]), "another")
    with pytest.raises(HandshakeError, match="G6"):
        store.registry.apply_entity(device(join_keys=["other"]), PROJECT)


def changes(folder: Path) -> dict[str, Callable[[], object]]:
    """What can happen to the files behind Feast's back, after a second version was published."""
    registry, record = registry_of(folder), record_of(folder)
    older = (registry.read_bytes(), record.read_bytes())
    write_lock(folder, line(), line("window@v2"))
    opened(folder).apply([view("window@v2")])
    content, lines = registry.read_bytes(), record.read_text("utf-8").splitlines(keepends=True)

    def edited() -> None:
        message = raw(folder).get_registry_proto()
        message.feature_views[0].spec.ttl.seconds = 1
        registry.write_bytes(message.SerializeToString())

    def doubled() -> None:
        message = raw(folder).get_registry_proto()
        message.feature_views.add().CopyFrom(message.feature_views[0])
        registry.write_bytes(message.SerializeToString())

    def rewritten_history() -> None:
        message = raw(folder).get_registry_proto()
        message.feature_view_version_history.records[0].feature_view_proto = b""
        registry.write_bytes(message.SerializeToString())

    return {
        "G22 gone": registry.unlink,
        "G22 empty": lambda: registry.write_bytes(b""),
        "G22 cut off": lambda: registry.write_bytes(content[: len(content) // 2]),
        "G22 no registry": lambda: registry.write_bytes(b"no registry"),
        "G22 older copy": lambda: registry.write_bytes(older[0]),
        "G22 edited": edited,
        "G22 doubled": doubled,
        "G22 history": rewritten_history,
        "G23 record gone": record.unlink,
        "G23 older record": lambda: record.write_bytes(older[1]),
        "G23 end of record gone": lambda: record.write_text(lines[0], "utf-8"),
        "G23 first line gone": lambda: record.write_text(lines[1], "utf-8"),
        "G23 line edited": lambda: record.write_text(lines[0].replace("A", "B", 1) + lines[1]),
        "G23 last line cut off": lambda: record.write_text("".join(lines)[:-9], "utf-8"),
    }


CHANGES = (
    "G22 gone", "G22 empty", "G22 cut off", "G22 no registry", "G22 older copy", "G22 edited",
    "G22 doubled", "G22 history", "G23 record gone", "G23 older record", "G23 end of record gone",
    "G23 first line gone", "G23 line edited", "G23 last line cut off",
)  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_done_to_the_files_is_found_before_they_are_used(
    published: Path, change: str
) -> None:
    known = changes(published)
    assert tuple(known) == CHANGES
    reader = opened(published)
    reader.list_entities()
    known[change]()
    for attempt in (reader.refresh_registry, lambda: opened(published).list_entities()):
        with pytest.raises(HandshakeError) as caught:
            attempt()
        assert caught.value.code == change[:3]
        assert caught.value.mend


@pytest.mark.parametrize("change", [name for name in CHANGES if name.startswith("G22")])
def test_a_registry_is_put_together_again_from_its_record(published: Path, change: str) -> None:
    known = changes(published)
    opened(published).apply([view("draft@v1"), device(name="other", join_keys=["other"])])
    known[change]()
    assert restore(registry_of(published))
    found = entries(raw(published).get_registry_proto())
    assert set(published_file.read(record_of(published)).entries) <= set(found)
    opened(published).apply([view(), view("window@v2"), service()])
    assert restore(registry_of(published)) == []


def test_the_command_of_the_mend_puts_a_registry_back(
    published: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    registry_of(published).unlink()
    with pytest.raises(HandshakeError) as caught:
        opened(published).list_entities()
    python, option, module, *arguments = caught.value.mend.rpartition(": ")[2].split()
    assert (python, option, module) == ("python", "-m", file_restore.__name__)
    assert file_restore.main(arguments) == 0
    assert "view window_v1: is gone" in capsys.readouterr().out
    assert opened(published).get_feature_view("window_v1") is not None


def test_a_client_of_feast_alone_is_found_out_by_the_next_that_reads(published: Path) -> None:
    bare = shutil.copytree(published, published.with_name("bare"))
    repository(bare, {"path": str(registry_of(published))})
    opened(bare).apply([view(description="no change")])
    assert opened(published).get_feature_view("window_v1").description == "no change"
    opened(bare).delete_feature_service("encoder_reads")
    with pytest.raises(HandshakeError, match=r"G22.*service encoder_reads: is gone"):
        opened(published).list_entities()


class Killed(BaseException):
    """The process is gone: no handler of an Exception runs."""


_hook: Callable[[str, tuple[object, ...]], None] | None = None


def _audit(event: str, arguments: tuple[object, ...]) -> None:
    if _hook is not None:
        _hook(event, arguments)


@contextmanager
def dying_at(number: int, folder: Path) -> Iterator[list[str]]:
    """Die at the nth file operation in a folder; lists the operations that were begun."""
    global _hook
    begun: list[str] = []

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event in {"open", "os.rename", "os.truncate"} and _inside(arguments[0], folder):
            begun.append(event)
            if len(begun) == number:
                raise Killed

    if not getattr(sys, "_firnline_audited", False):
        sys.addaudithook(_audit)
        sys._firnline_audited = True  # type: ignore[attr-defined]
    _hook = hook
    try:
        yield begun
    finally:
        _hook = None


def _inside(place: object, folder: Path) -> bool:
    return isinstance(place, int) or str(folder) in str(place)


def test_a_writer_killed_at_any_point_leaves_the_old_or_the_new_registry(published: Path) -> None:
    write_lock(published, line(), line("window@v2"))
    opened(published).apply([view("draft@v1")])
    opened(published).registry.delete_feature_view("draft_v1", PROJECT)
    outcomes = []
    for number in range(1, 40):
        folder = shutil.copytree(published, published.with_name(str(number)))
        store = raw(folder)
        message = store.get_registry_proto()
        added = view("window@v2").to_proto()
        added.spec.project = PROJECT
        message.feature_views.append(added)
        with dying_at(number, folder) as begun, suppress(Killed):
            store.update_registry_proto(message)
        found = {each.spec.name for each in raw(folder).get_registry_proto().feature_views}
        assert found >= {"window_v1"}
        opened(folder).apply([view("window@v2")])
        with pytest.raises(HandshakeError, match="G2"):
            opened(folder).delete_feature_view("window_v2")
        outcomes.append("window_v2" in found)
        if len(begun) < number:
            break
    assert outcomes == sorted(outcomes)
    assert outcomes.count(False) >= 5
    assert outcomes.count(True) >= 2


def test_a_line_half_written_does_not_count(published: Path) -> None:
    record = record_of(published)
    whole = record.read_bytes()
    record.write_bytes(whole + b"0123456789abcdef {")
    write_lock(published, line(), line("window@v2"))
    opened(published).apply([view("window@v2")])
    assert record.read_bytes().startswith(whole)
    assert len(published_file.read(record).heads) == 2


def test_a_full_disk_leaves_the_registry_as_it_was(
    published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = registry_of(published).read_bytes()
    store = opened(published)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            entity(store, "other")
    assert registry_of(published).read_bytes() == before
    entity(store, "other")
    assert names(opened(published)) == {"device", "other"}
