import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from firnline.adapters.feast_online.codec import Layout
from firnline.adapters.feast_online.read import read
from firnline.adapters.feast_online.redis_rows import RedisRows
from firnline.adapters.feast_online.rows import Batch, Rows
from firnline.adapters.feast_online.sqlite_rows import SqliteRows
from firnline.errors import HandshakeError

LAYOUT = Layout("a" * 64, (("x", "bytes"),))


@pytest.fixture(params=["sqlite", "redis"])
def rows(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rows]:
    if request.param == "sqlite":
        found = SqliteRows(tmp_path / "online.db")
        yield found
        found.close()
        return
    client = Redis(unix_socket_path=str(request.getfixturevalue("redis_socket")))
    client.flushdb()
    yield RedisRows(client)
    client.close()


def batch(*rows: tuple[bytes, int, int | None, bytes], layout: Layout = LAYOUT) -> Batch:
    keys, events, created, packed = zip(*rows, strict=True)
    return Batch(layout, keys, events, created, packed)


def held(rows: Rows, table: str, *keys: bytes) -> list[bytes | None]:
    return [None if row is None else row.row for row in rows.read(table, keys)]


WRITES = st.lists(
    st.lists(
        st.tuples(
            st.sampled_from([b"a", b"b", b"\x00", b"*[?"]),
            st.integers(-2, 2).map(lambda hours: hours * 3_600_000_000),
            st.none() | st.integers(-1, 1),
            st.binary(max_size=4),
        ),
        min_size=1,
        max_size=4,
    ),
    min_size=1,
    max_size=5,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(WRITES)
def test_the_newest_row_stays_whatever_the_order(rows: Rows, writes: list[list[Any]]) -> None:
    rows.drop("t")
    newest: dict[bytes, tuple[tuple[int, int], bytes]] = {}
    for each in writes:
        rows.write("t", LAYOUT.view, [batch(*each)])
        for key, event, created, row in each:
            when = (event, -(2**52) if created is None else created)
            if key not in newest or when >= newest[key][0]:
                newest[key] = (when, row)
    found = rows.read("t", [b"a", b"b", b"\x00", b"*[?", b"never"])
    expected = [newest.get(key) for key in (b"a", b"b", b"\x00", b"*[?", b"never")]
    assert [row and (row.event_us, row.row) for row in found] == [
        each and (each[0][0], each[1]) for each in expected
    ]


def test_a_table_is_of_one_version(rows: Rows) -> None:
    rows.write("t", "a" * 64, [batch((b"k", 1, None, b"one"))])
    with pytest.raises(
        HandshakeError, match=r"\[N2\] online table t.*aaaaaa.*bbbbbb.*next version"
    ):
        rows.write("t", "b" * 64, [batch((b"k", 2, None, b"two"))])
    with pytest.raises(HandshakeError, match=r"\[N2\]"):
        rows.write("t", "", [batch((b"k", 2, None, b"two"))])
    rows.create("t", "b" * 64)
    assert rows.digest("t") == "a" * 64
    assert held(rows, "t", b"k") == [b"one"]
    rows.drop("t")
    assert rows.digest("t") is None
    rows.write("t", "b" * 64, [batch((b"j", 2, None, b"two"))])
    assert held(rows, "t", b"k", b"j") == [None, b"two"]


def test_a_view_without_a_digest_takes_one_later(rows: Rows) -> None:
    rows.create("t", "")
    rows.write("t", "", [batch((b"k", 1, None, b"one"), layout=Layout("", LAYOUT.fields))])
    rows.write("t", "a" * 64, [batch((b"j", 1, None, b"two"))])
    assert rows.digest("t") == "a" * 64


def test_a_version_that_never_came_online_is_refused(rows: Rows) -> None:
    for keys in ([], [b"k"]):
        with pytest.raises(HandshakeError, match=r"\[N4\]"):
            rows.read("nothing", keys) if keys else read(rows, "nothing", {}, [], "a" * 64)
    rows.create("t", "a" * 64)
    assert rows.read("t", [b"k"]) == [None]


def test_many_keys_are_read_in_their_order(rows: Rows) -> None:
    keys = [str(number).encode() for number in range(12_000)]
    assert rows.write("t", LAYOUT.view, [batch(*((key, 1, None, key) for key in keys))]) == 12_000
    assert held(rows, "t", *reversed(keys), b"x", keys[0]) == [*reversed(keys), None, keys[0]]
    rows.drop("t")
    rows.create("t", "a" * 64)
    assert held(rows, "t", *keys[:3]) == [None] * 3


def test_of_two_writers_the_newer_row_stays(rows: Rows) -> None:
    def write(event: int) -> int:
        row = str(event).encode()
        each = [(str(key).encode(), event, None, row) for key in range(50)]
        return rows.write("t", LAYOUT.view, [batch(*each)])

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(write, [3, 7, 1, 9, 4, 8, 2, 6] * 3)) == 24 * 50
    assert set(held(rows, "t", *(str(key).encode() for key in range(50)))) == {b"9"}


def test_of_two_first_writers_one_makes_the_table(rows: Rows) -> None:
    def write(case: tuple[int, str]) -> str | None:
        table, digest = f"t{case[0]}", case[1] * 64
        layout = Layout(digest, LAYOUT.fields)
        try:
            rows.write(table, digest, [batch((b"k", 1, None, digest.encode()), layout=layout)])
        except HandshakeError as error:
            assert error.code == "N2"
            return None
        return digest

    cases = [(table, digest) for table in range(20) for digest in "abcd"]
    for table in {table for table, _ in cases}:
        rows.create(f"t{table}", "")
    with ThreadPoolExecutor(4) as pool:
        made = [digest for digest in pool.map(write, cases) if digest is not None]
    assert made == [rows.digest(f"t{table}") for table in range(20)]
    for table, digest in enumerate(made):
        assert held(rows, f"t{table}", b"k") == [digest.encode()]


def test_layouts_are_checked(rows: Rows, tmp_path: Path) -> None:
    rows.write("t", LAYOUT.view, [batch((b"k", 1, None, b"one"))])
    fresh: Callable[[], Rows]
    if isinstance(rows, SqliteRows):
        with sqlite3.connect(tmp_path / "online.db") as database:
            database.execute("UPDATE firnline_layouts SET document = replace(document, 'x', 'y')")
        database.close()
        fresh = lambda: SqliteRows(tmp_path / "online.db")  # noqa: E731
    else:
        client = rows._client  # type: ignore[attr-defined]
        client.hset("firnline:layouts", str(LAYOUT.id), LAYOUT.text.replace("x", "y"))
        fresh = lambda: RedisRows(client)  # noqa: E731
    (stored,) = rows.read("t", [b"k"])
    assert stored is not None
    with pytest.raises(HandshakeError, match=r"\[N3\].*layout"):
        fresh().layout(stored.layout)
    with pytest.raises(HandshakeError, match=r"\[N3\].*missing"):
        rows.layout(1)


def test_an_interrupted_materialisation_leaves_what_was(tmp_path: Path) -> None:
    rows = SqliteRows(tmp_path / "online.db")
    rows.write("t", LAYOUT.view, [batch((b"k", 1, None, b"one"))])

    def batches() -> Iterator[Batch]:
        yield batch((b"k", 2, None, b"two"), (b"j", 2, None, b"two"))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rows.write("t", LAYOUT.view, batches())
    assert held(rows, "t", b"k", b"j") == [b"one", None]
    rows.close()


def test_a_reader_makes_no_tables(tmp_path: Path) -> None:
    rows = SqliteRows(tmp_path / "online.db")
    assert rows.digest("t") is None
    with pytest.raises(HandshakeError, match=r"\[N4\]"):
        rows.read("t", [b"k"])
    rows.close()
    assert not (tmp_path / "online.db").exists() or (tmp_path / "online.db").stat().st_size == 0
