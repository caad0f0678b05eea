"""A block of readings as an Arrow table, in the columns of the landing zone."""

from datetime import datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from firnline.sim.dirt import UNKNOWN_DEVICE
from firnline.sim.fleet import FleetSpec
from firnline.sim.hours import HOUR, Block
from firnline.sim.registry import Chunk
from firnline.sim.sensors import BOOLEAN_SENSORS, SENSORS

Ints = npt.NDArray[np.int64]

TIMESTAMP = pa.timestamp("us", tz="UTC")
SCHEMA = pa.schema(
    [
        pa.field("event_id", pa.string(), nullable=False),
        pa.field("device_id", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        pa.field("timestamp_device", TIMESTAMP, nullable=False),
        pa.field("timestamp_ingested", TIMESTAMP, nullable=False),
        *(
            pa.field(name, pa.bool_() if name in BOOLEAN_SENSORS else pa.float32())
            for name in SENSORS
        ),
        pa.field("_sequence_number", pa.int64(), nullable=False),
    ]
)

_EVENT_ID_BYTES = 24
_SECOND_US, _MINUTE_US = 1_000_000, 60_000_000


def device_dictionary(chunks: list[Chunk]) -> pa.Array:
    """Returns the ids of some neighbouring chunks, and last the one no registry knows."""
    ids = [device.device_id for chunk in chunks for device in chunk.devices]
    return pa.array([*ids, UNKNOWN_DEVICE], pa.string())


def to_table(
    spec: FleetSpec, chunk: Chunk, block: Block, dictionary: pa.Array, offset: int
) -> pa.Table:
    """Lays a block out as rows, device by device, with its dirt.

    A duplicate is the same row again, at the end of the hour as a replay would bring it.

    Args:
        spec: For the start and the seed.
        chunk: Of the block.
        block: Readings of n devices.
        dictionary: From `device_dictionary`.
        offset: Of the chunk's first device in the dictionary.
    """
    count = len(chunk.devices)
    rows = count * HOUR
    minute = np.arange(HOUR, dtype=np.int64) + block.hour * HOUR
    epoch_minute = int(spec.start.timestamp()) // 60 + minute
    device = np.repeat(np.arange(offset, offset + count, dtype=np.int32), HOUR)
    device[block.dirt.rows["unknown_device"]] = len(dictionary) - 1
    stamp = epoch_minute * _MINUTE_US + chunk.report_second[:, None] * _SECOND_US
    ingested = block.latency_tenths * (_SECOND_US // 10)
    ingested += stamp
    stamp.reshape(-1)[block.dirt.rows["clock_off"]] += (
        block.dirt.clock_offset_seconds() * _SECOND_US
    )
    sequence = np.ascontiguousarray(np.broadcast_to(minute, (count, HOUR)))
    columns = [
        _event_ids(spec.seed, chunk.first, count, epoch_minute),
        pa.DictionaryArray.from_arrays(
            pa.Array.from_buffers(pa.int32(), rows, [None, pa.py_buffer(device)]), dictionary
        ),
        pa.Array.from_buffers(TIMESTAMP, rows, [None, pa.py_buffer(stamp)]),
        pa.Array.from_buffers(TIMESTAMP, rows, [None, pa.py_buffer(ingested)]),
        *_sensor_columns(block, rows),
        pa.Array.from_buffers(pa.int64(), rows, [None, pa.py_buffer(sequence)]),
    ]
    table = pa.table(columns, schema=SCHEMA)
    duplicates = block.dirt.rows["duplicate"]
    return pa.concat_tables([table, table.take(duplicates)]) if len(duplicates) else table


def _sensor_columns(block: Block, rows: int) -> list[pa.Array]:
    present = np.packbits(~block.missing.reshape(len(SENSORS), rows), axis=1, bitorder="little")
    columns = []
    for name, valid in zip(SENSORS, present, strict=True):
        values = block.values[name]
        if name in BOOLEAN_SENSORS:
            flags = values.reshape(rows).astype(np.bool_, copy=False)
            kind, data = pa.bool_(), pa.py_buffer(np.packbits(flags, bitorder="little"))
        else:
            kind, data = pa.float32(), pa.py_buffer(np.ascontiguousarray(values))
        columns.append(pa.Array.from_buffers(kind, rows, [pa.py_buffer(valid), data]))
    return columns


def _event_ids(seed: int, first: int, count: int, epoch_minute: Ints) -> pa.Array:
    """Builds ids of 7 hex digits of seed, 7 of device and 8 of minute, as words of 8 bytes."""
    words = np.empty((count, HOUR, 3), dtype="<u8")
    words[:, :, 0] = _hex_word(f"{seed % 16**7:07x}-")
    words[:, :, 1] = [[_hex_word(f"{first + i:07x}-")] for i in range(count)]
    words[:, :, 2] = [_hex_word(f"{minute:08x}") for minute in epoch_minute.tolist()]
    rows = count * HOUR
    ends = np.arange(0, (rows + 1) * _EVENT_ID_BYTES, _EVENT_ID_BYTES, dtype=np.int32)
    return pa.Array.from_buffers(
        pa.string(), rows, [None, pa.py_buffer(ends), pa.py_buffer(words.reshape(-1))]
    )


def _hex_word(text: str) -> int:
    return int.from_bytes(text.encode("ascii"), "little")


def event_time(spec: FleetSpec, minute: int) -> datetime:
    """Returns the UTC time of a minute since the fleet's start."""
    return datetime.fromtimestamp(spec.start.timestamp() + minute * 60, tz=spec.start.tzinfo)
