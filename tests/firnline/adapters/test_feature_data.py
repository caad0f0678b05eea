"""Data of published versions: it grows, is revised, and never changes unseen."""

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_repo.refrigeration.transforms import VIEWS
from firnline.adapters.duckdb_features import compute
from firnline.adapters.feature_data import FeatureData, Part, Snapshot
from firnline.digest import bytes_digest, file_digest
from firnline.errors import HandshakeError
from tests.resources import clean_readings

VIEW, TABLE = "a" * 64, "sums_v1"
FIVE, SIX, SEVEN = (f"date=2026-01-01/part-0{hour}" for hour in (5, 6, 7))


def partition(folder: Path, name: str, value: float = 1.0, rows: int = 20) -> None:
    """One hour of windows; another value gives other bytes."""
    start = datetime.fromisoformat(name[5:15]).replace(hour=int(name[-2:]), tzinfo=UTC)
    ends = [start + timedelta(minutes=minute + 1) for minute in range(rows)]
    file = folder / f"{name}.parquet"
    file.parent.mkdir(parents=True, exist_ok=True)
    columns = {
        "device_id": [f"REF-{row:03d}" for row in range(rows)],
        "window_end": pa.array(ends, pa.timestamp("us", tz="UTC")),
        "total": [value * row for row in range(rows)],
    }
    pq.write_table(pa.table(columns), file)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in (FIVE, SIX):
        partition(tmp_path / "computed", name)
    return tmp_path / "computed"


@pytest.fixture
def data(tmp_path: Path) -> FeatureData:
    return FeatureData(tmp_path / "data")


@pytest.fixture
def snapshot(data: FeatureData, folder: Path) -> Snapshot:
    return data.commit(TABLE, VIEW, folder)


def micros(hour: int, minute: int = 0) -> int:
    return int(datetime(2026, 1, 1, hour, minute, tzinfo=UTC).timestamp()) * 1_000_000


def overwrite(file: Path, content: bytes) -> None:
    file.chmod(0o644)
    file.write_bytes(content)


def refused(work: Callable[[], object], code: str) -> str:
    with pytest.raises(HandshakeError) as caught:
        work()
    assert caught.value.code == code
    return str(caught.value)


def revisions(snapshot: Snapshot) -> dict[str, int]:
    return {part.name: part.revision for part in snapshot.parts}


def test_a_commit_is_read_back(data: FeatureData, folder: Path, snapshot: Snapshot) -> None:
    file = folder / f"{FIVE}.parquet"
    assert snapshot.parts[0] == Part(
        FIVE, 1, file_digest(file), file.stat().st_size, 20, micros(5, 1), micros(5, 20)
    )
    assert snapshot.rows == 40
    assert data.head(TABLE) == data.snapshot(TABLE, snapshot.digest) == snapshot
    stored = data.files(snapshot)
    assert [path.read_bytes() for path in stored] == [
        (folder / f"{name}.parquet").read_bytes() for name in (FIVE, SIX)
    ]
    assert {path.stat().st_mode & 0o777 for path in stored} == {0o444}
    manifest = data.root / TABLE / "snapshots" / f"{snapshot.digest}.json"
    assert bytes_digest(manifest.read_bytes()) == snapshot.digest


def test_nothing_is_there_before_the_first_commit(data: FeatureData) -> None:
    assert data.head(TABLE) is None
    refused(lambda: data.snapshot(TABLE, "b" * 64), "P4")


def test_the_computed_folder_may_go(data: FeatureData, folder: Path, snapshot: Snapshot) -> None:
    before = [path.read_bytes() for path in data.files(snapshot)]
    (folder / f"{FIVE}.parquet").write_bytes(b"another run's bytes")
    shutil.rmtree(folder)
    assert [path.read_bytes() for path in data.files(snapshot)] == before


def test_the_same_folder_again_changes_nothing(
    data: FeatureData, folder: Path, snapshot: Snapshot
) -> None:
    before = state(data.root)
    assert data.commit(TABLE, VIEW, folder) == snapshot
    assert state(data.root) == before


def test_files_are_those_that_meet_the_times(data: FeatureData, snapshot: Snapshot) -> None:
    names = {
        path: part.name for path, part in zip(data.files(snapshot), snapshot.parts, strict=True)
    }

    def met(first: int | None, last: int | None) -> list[str]:
        return [names[path] for path in data.files(snapshot, first, last)]

    assert met(None, micros(5, 1)) == [FIVE]
    assert met(None, micros(5, 1) - 1) == []
    assert met(micros(5, 20), micros(6, 1)) == [FIVE, SIX]
    assert met(micros(5, 20) + 1, None) == [SIX]
    assert met(micros(6, 20) + 1, None) == []


def test_late_data_is_a_revision_and_the_old_one_stays(
    data: FeatureData, folder: Path, snapshot: Snapshot
) -> None:
    before = [path.read_bytes() for path in data.files(snapshot)]
    partition(folder, SIX, value=2.0)
    late = data.commit(TABLE, VIEW, folder)
    assert revisions(late) == {FIVE: 1, SIX: 2}
    assert data.head(TABLE) == late != snapshot
    assert late.parts[0] == snapshot.parts[0]
    old = data.snapshot(TABLE, snapshot.digest)
    assert [path.read_bytes() for path in data.files(old)] == before
    partition(folder, SIX)
    assert data.commit(TABLE, VIEW, folder) == snapshot, "bytes it had before are no revision"
    partition(folder, SIX, value=3.0)
    assert revisions(data.commit(TABLE, VIEW, folder)) == {FIVE: 1, SIX: 3}


def test_new_partitions_extend(data: FeatureData, snapshot: Snapshot, tmp_path: Path) -> None:
    partition(tmp_path / "next", SEVEN)
    longer = data.commit(TABLE, VIEW, tmp_path / "next", extend=True)
    assert longer.parts[:2] == snapshot.parts
    assert revisions(longer) == {FIVE: 1, SIX: 1, SEVEN: 1}
    alone = data.commit(TABLE, VIEW, tmp_path / "next")
    assert alone.parts == longer.parts[2:]


def test_a_digest_does_not_depend_on_history(
    data: FeatureData, folder: Path, snapshot: Snapshot, tmp_path: Path
) -> None:
    partition(folder, SIX, value=2.0)
    late = data.commit(TABLE, VIEW, folder)
    elsewhere = FeatureData(tmp_path / "elsewhere").commit(TABLE, VIEW, folder)
    assert elsewhere.digest == late.digest
    assert revisions(elsewhere) == {FIVE: 1, SIX: 1}


def test_another_version_is_refused(data: FeatureData, folder: Path, snapshot: Snapshot) -> None:
    assert "next version" in refused(lambda: data.commit(TABLE, "b" * 64, folder), "P6")
    assert data.head(TABLE) == snapshot


@pytest.mark.parametrize(
    ("content", "column"),
    [(b"PAR1 is not enough", "window_end"), (None, "no_such_column"), (b"", "window_end")],
)
def test_what_is_no_partition_is_refused(
    content: bytes | None, column: str, data: FeatureData, folder: Path
) -> None:
    if content is not None:
        (folder / f"{SIX}.parquet").write_bytes(content)
    refused(lambda: data.commit(TABLE, VIEW, folder, timestamp_column=column), "P7")
    refused(lambda: data.commit(TABLE, VIEW, folder / "nothing"), "P7")
    assert data.head(TABLE) is None


DAMAGE: dict[str, tuple[Callable[[Path, Path], object], str, str]] = {
    "missing": (lambda five, six: six.unlink(), "P1", "missing"),
    "truncated": (lambda five, six: overwrite(six, six.read_bytes()[:-9]), "P2", "bytes are left"),
    "emptied": (lambda five, six: overwrite(six, b""), "P2", "0 of"),
    "flipped": (
        lambda five, six: overwrite(six, six.read_bytes()[:99] + b"?" + six.read_bytes()[100:]),
        "P3",
        "committed was",
    ),
    "grown": (lambda five, six: overwrite(six, six.read_bytes() + b"\0"), "P3", "committed was"),
    "swapped": (
        lambda five, six: overwrite(six, five.read_bytes()),
        "P3",
        f"the bytes of {FIVE} revision 1",
    ),
}


@pytest.mark.parametrize("how", DAMAGE)
def test_damage_is_found_before_use_named_and_healed(
    how: str, data: FeatureData, folder: Path, snapshot: Snapshot
) -> None:
    work, code, told = DAMAGE[how]
    five, six = data.files(snapshot)
    work(five, six)
    message = refused(lambda: data.files(snapshot), code)
    assert told in message
    assert f"{TABLE}, {SIX} revision 1" in message
    assert data.files(snapshot, last=micros(5, 30)) == [five]
    assert data.files(snapshot, verify=False) == [five, six]
    assert data.commit(TABLE, VIEW, folder) == snapshot
    assert data.files(snapshot) == [five, six]


def test_all_damage_is_told_at_once(data: FeatureData, snapshot: Snapshot) -> None:
    five, six = data.files(snapshot)
    five.unlink()
    overwrite(six, b"")
    message = refused(lambda: data.files(snapshot), "P1")
    assert f"{FIVE} revision 1" in message
    assert "[P2]" in message


def test_bytes_are_read_again_only_after_a_file_changed(
    data: FeatureData, snapshot: Snapshot
) -> None:
    _, six = data.files(snapshot)
    found = six.stat()
    content = six.read_bytes()
    overwrite(six, b"?" * len(content))
    os.utime(six, ns=(found.st_atime_ns, found.st_mtime_ns))
    refused(lambda: data.files(snapshot), "P3")


def edited(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def tamper(how: str, home: Path, first: Snapshot, second: Snapshot) -> None:
    head, log = home / "HEAD", home / "revisions.log"
    manifest = home / "snapshots" / f"{second.digest}.json"
    lines = log.read_text(encoding="utf-8").splitlines(keepends=True)
    match how:
        case "manifest edited":
            edited(manifest, '"rows":20', '"rows":21')
        case "manifest missing":
            manifest.unlink()
        case "manifest swapped":
            shutil.copy(home / "snapshots" / f"{first.digest}.json", manifest)
        case "HEAD edited":
            edited(head, second.digest[:8], "00000000")
        case "HEAD rolled back":
            head.write_text(f"{first.digest} {lines[0][:64]}\n", encoding="utf-8")
        case "HEAD missing":
            head.unlink()
        case "log edited":
            edited(log, '",1,"', '",9,"')
        case "log cut":
            log.write_text(lines[0], encoding="utf-8")
        case "log missing":
            log.unlink()
        case "log in another order":
            log.write_text("".join(reversed(lines)), encoding="utf-8")


TAMPERED = {
    "manifest edited": "P4",
    "manifest missing": "P4",
    "manifest swapped": "P4",
    "HEAD edited": "P5",
    "HEAD rolled back": "P5",
    "HEAD missing": "P5",
    "log edited": "P5",
    "log cut": "P5",
    "log missing": "P5",
    "log in another order": "P5",
}


@pytest.mark.parametrize("how", TAMPERED)
def test_a_manifest_log_or_head_that_was_altered_is_found_and_healed(
    how: str, data: FeatureData, folder: Path, snapshot: Snapshot
) -> None:
    for value in (2.0, 3.0):
        partition(folder, SIX, value)
        newest = data.commit(TABLE, VIEW, folder)
    home = data.root / TABLE
    tamper(how, home, snapshot, newest)
    refused(lambda: data.head(TABLE), TAMPERED[how])
    assert data.commit(TABLE, VIEW, folder) == newest
    assert data.head(TABLE) == newest
    old = data.snapshot(TABLE, snapshot.digest)
    assert old == snapshot
    assert data.files(old)


def test_a_commit_that_extends_stands_on_what_was_last_even_after_the_log_is_lost(
    data: FeatureData, snapshot: Snapshot, tmp_path: Path
) -> None:
    (data.root / TABLE / "revisions.log").unlink()
    partition(tmp_path / "next", SEVEN)
    longer = data.commit(TABLE, VIEW, tmp_path / "next", extend=True)
    assert revisions(longer) == {FIVE: 1, SIX: 1, SEVEN: 1}


def state(root: Path) -> dict[Path, tuple[bytes, int]]:
    files = (path for path in root.rglob("*") if path.is_file())
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def test_a_kill_at_any_point_leaves_the_old_data_or_the_new(
    data: FeatureData, folder: Path, snapshot: Snapshot, tmp_path: Path
) -> None:
    partition(folder, SIX, value=2.0)
    partition(folder, SEVEN)
    script = Path(__file__).parents[2] / "resources" / "killed_commits.py"
    ran = subprocess.run(
        [sys.executable, str(script), str(data.root), str(folder), str(tmp_path / "work")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    kills, old, new = map(int, ran.stdout.split())
    assert kills == old + new
    assert kills > 20
    assert min(old, new) > 0


def test_a_late_reading_makes_revision_two_of_its_hour_alone(
    data: FeatureData, tmp_path: Path
) -> None:
    view = VIEWS[0]
    readings = clean_readings.readings()
    late = readings.slice(len(readings) // 2, 1)
    minute = pa.array([clean_readings.at(hours=1, minutes=30)], late["timestamp_utc"].type)
    late = late.set_column(late.schema.get_field_index("timestamp_utc"), "timestamp_utc", minute)

    def run(name: str, table: pa.Table) -> Snapshot:
        clean = clean_readings.write(table, tmp_path / name / "clean")
        compute(view, clean, tmp_path / name)
        return data.commit(view.table, view.digest(), tmp_path / name / view.table)

    first = run("first", readings)
    before = {path: path.read_bytes() for path in data.files(first)}
    log = (data.root / view.table / "revisions.log").read_bytes()
    second = run("second", pa.concat_tables([readings, late]))
    assert list(revisions(first).values()) == [1, 1, 1]
    assert revisions(second) == revisions(first) | {"date=2026-01-01/part-23": 2}
    assert data.head(view.table) == second
    again = data.files(data.snapshot(view.table, first.digest))
    assert {path: path.read_bytes() for path in again} == before
    assert (data.root / view.table / "revisions.log").read_bytes().startswith(log)
    assert run("third", readings) == first


def test_commits_at_the_same_time_lose_nothing_and_readers_see_whole_data(
    data: FeatureData, tmp_path: Path
) -> None:
    names = [f"date=2026-01-01/part-{hour:02d}" for hour in range(12)]
    for name in names:
        partition(tmp_path / name[-2:], name)
    data.commit(TABLE, VIEW, tmp_path / "00")
    committed = threading.Event()

    def read() -> int:
        seen = 0
        while not committed.is_set():
            newest = data.head(TABLE)
            assert newest is not None
            assert len(newest.parts) >= seen
            seen = len(newest.parts)
            assert len(data.files(newest)) == seen
        return seen

    with ThreadPoolExecutor() as pool:
        reader = pool.submit(read)
        commits = [
            pool.submit(data.commit, TABLE, VIEW, tmp_path / name[-2:], extend=True)
            for name in names[1:]
        ]
        for commit in commits:
            commit.result()
        committed.set()
        assert reader.result() >= 1
    newest = data.head(TABLE)
    assert newest is not None
    assert [part.name for part in newest.parts] == names
