"""Packed rows in Redis: one string an entity and version, written and read in pipelines."""

from collections.abc import Iterable, Sequence
from struct import Struct

from redis import Redis

from firnline.adapters.feast_online.codec import Layout, damaged, layout_of
from firnline.adapters.feast_online.rows import Batch, Stored, absent, same_version

_TABLES = "firnline:online"
_LAYOUTS = "firnline:layouts"
_HEAD = Struct("<qqq")
_OLDEST = -(2**53)
_ROWS_AT_ONCE = 1_000
_DROPPED_AT_ONCE = 5_000
# Compares and sets in the server, so that of two writers the newer row wins. A key's row is
# event time, created time, layout, features; times are exact in Lua's doubles until year 2255.
_NEWEST = """
for place, key in ipairs(KEYS) do
    local old = redis.call('GETRANGE', key, 0, 15)
    local new = ARGV[place]
    local keep = true
    if #old == 16 then
        local old_event, old_created = struct.unpack('<i8i8', old)
        local event, created = struct.unpack('<i8i8', new)
        keep = event > old_event or (event == old_event and created >= old_created)
    end
    if keep then redis.call('SET', key, new) end
end
"""

# A table that has a digest keeps it, whoever comes with another: of two first writers one sets it.
_CLAIM = """
local held = redis.call('HGET', KEYS[1], ARGV[1])
if held and held ~= '' then return held end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return ARGV[2]
"""


class RedisRows:
    """Rows in one Redis server; a row is written whole, a materialisation row by row.

    Args:
        client: Connected, with bytes as they are.
    """

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._newest = client.register_script(_NEWEST)
        self._claim = client.register_script(_CLAIM)
        self._layouts: dict[int, Layout] = {}

    def create(self, table: str, digest: str) -> None:
        """Make room for a version; what is there stays. See `Rows.create`."""
        self._claim(keys=[_TABLES], args=[table, digest])

    def drop(self, table: str) -> None:
        """Remove a version's rows, if there are any."""
        # The record goes first: who reads in between is told that nothing is there.
        self._client.hdel(_TABLES, table)
        found: list[bytes] = []
        for key in self._client.scan_iter(_escaped(_prefix(table)) + b"*", _DROPPED_AT_ONCE):
            found.append(key)
            if len(found) == _DROPPED_AT_ONCE:
                self._client.unlink(*found)
                found.clear()
        if found:
            self._client.unlink(*found)

    def write(self, table: str, digest: str, batches: Iterable[Batch]) -> int:
        """Keep each entity's newest row. See `Rows.write`.

        Raises:
            HandshakeError: N2 when the table is of another digest.
        """
        same_version(table, _text(self._claim(keys=[_TABLES], args=[table, digest])), digest)
        return sum(self._write(_prefix(table), batch) for batch in batches)

    def _write(self, prefix: bytes, batch: Batch) -> int:
        number = batch.layout.id
        self._client.hsetnx(_LAYOUTS, str(number), batch.layout.text)
        keys = [prefix + key for key in batch.keys]
        rows = [
            _HEAD.pack(event, _OLDEST if created is None else created, number) + row
            for event, created, row in zip(
                batch.event_us, batch.created_us, batch.rows, strict=True
            )
        ]
        with self._client.pipeline(transaction=False) as pipe:
            for start in range(0, len(keys), _ROWS_AT_ONCE):
                end = start + _ROWS_AT_ONCE
                self._newest(keys=keys[start:end], args=rows[start:end], client=pipe)
            pipe.execute()
        return len(rows)

    def read(self, table: str, keys: Sequence[bytes]) -> list[Stored | None]:
        """The rows of entities, in the order of the keys, in one round trip. See `Rows.read`.

        Raises:
            HandshakeError: N3 when a row is damaged, N4 when there is no such table.
        """
        prefix = _prefix(table)
        with self._client.pipeline(transaction=False) as pipe:
            pipe.hexists(_TABLES, table)
            if keys:
                pipe.mget([prefix + key for key in keys])
            known, *found = pipe.execute()
        if not known:
            raise absent(table)
        return [None if value is None else _stored(value) for value in (found[0] if keys else ())]

    def layout(self, number: int) -> Layout:
        """A layout that rows name. See `Rows.layout`.

        Raises:
            HandshakeError: N3 when it is missing or not what was written.
        """
        layout = self._layouts.get(number)
        if layout is None:
            found = self._client.hget(_LAYOUTS, str(number))
            if found is None:
                raise damaged(f"rows name layout {number:012x}, which is missing")
            layout = self._layouts[number] = layout_of(number, _text(found))
        return layout

    def digest(self, table: str) -> str | None:
        """Digest of the version a table is of; None when there is no such table."""
        found = self._client.hget(_TABLES, table)
        return None if found is None else _text(found)


def _prefix(table: str) -> bytes:
    return b"firnline:" + table.encode() + b":"


def _escaped(text: bytes) -> bytes:
    """Text as a Redis pattern that matches it alone."""
    for sign in (b"\\", b"*", b"?", b"["):
        text = text.replace(sign, b"\\" + sign)
    return text


def _stored(value: bytes) -> Stored:
    if len(value) < _HEAD.size:
        raise damaged("a row is shorter than its head")
    event, _, number = _HEAD.unpack_from(value)
    return Stored(number, event, value[_HEAD.size :])


def _text(found: bytes | str) -> str:
    return found.decode() if isinstance(found, bytes) else found
