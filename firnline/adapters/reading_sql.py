"""The SQL of an ingest: how readings are typed, judged and ruled, one a row."""

from typing import Any, Literal

from firnline.adapters.reading_scan import AS_BOOL, Relation, columns_of, name, quoted, scan
from firnline.contracts.reading import ReadingContract, Sensor

MALFORMED = "bad_row"
FLAGS = (
    "BAD_QUALITY",
    "CLOCK_DRIFT",
    "DUPLICATE_REMOVED",
    "NOT_FINITE",
    "RANGE_VIOLATION",
    "SENSOR_GAP",
)
HOUR_MICROSECONDS = 3_600_000_000
_EARLIEST, _LATEST = "TIMESTAMPTZ '1970-01-01 00:00:00+00'", "TIMESTAMPTZ '2200-01-01 00:00:00+00'"
_POSITION_BITS = 40


def typed_wide(relation: Relation, contract: ReadingContract, index: int, key: str) -> str:
    """SELECT of one wide file's readings with typed columns, before any rule.

    Args:
        relation: The file.
        contract: What it must hold.
        index: The file's position in the source.
        key: The entity, where the path is the key.
    """
    raw = {column: f"r{place}" for place, column in enumerate(columns_of("wide", contract))}
    sensors = contract.sensor
    kinds = relation.kinds
    typed = [_typed(s, raw[s.column], kinds.get(s.column), contract) for s in sensors]
    broken = [
        f"({raw[s.column]} IS NOT NULL AND s{i} IS NULL)"
        for i, s in enumerate(sensors)
        if kinds.get(s.column) not in ("number", "bool" if s.dtype == "bool" else "integer")
    ]
    event, sequence = contract.event.id, contract.event.sequence
    labels = contract.labels.column if contract.labels else None
    if sequence:
        broken.append("sequence IS NULL")
    known = raw[contract.key.column] if contract.key.column else quoted(key)
    ingested = contract.time.ingested
    arrived = _instant(raw[ingested], kinds[ingested]) if ingested else "NULL::TIMESTAMPTZ"
    tidy = ["if(isfinite(device_at), device_at, NULL) AS device_at"]
    tidy += ["if(isfinite(ingested_at), ingested_at, NULL) AS ingested_at"]
    # Parquet's dictionaries keep whichever of 0.0 and -0.0 came first: leave only one.
    tidy += [f"if(s{i} = 0, 0, s{i}) AS s{i}" for i, s in enumerate(sensors) if s.dtype == "float"]
    return (
        f"SELECT * REPLACE ({', '.join(tidy)}), "
        f"{' OR '.join(broken) or 'false'} AS bad_value FROM ("
        f"SELECT {index}::INTEGER AS file_index, position, line, {', '.join(raw.values())}, "
        f"CAST({known} AS VARCHAR) AS key, "
        f"{_instant(raw[contract.time.device], kinds[contract.time.device])} AS device_at, "
        f"{arrived} AS ingested_at, "
        f"{f'CAST({raw[event]} AS VARCHAR)' if event else 'NULL::VARCHAR'} AS event_id, "
        f"{f'TRY_CAST({raw[sequence]} AS BIGINT)' if sequence else 'position'} AS sequence, "
        f"{_label(raw[labels]) if labels else 'NULL::VARCHAR'} AS label, "
        f"false AS bad_quality, {', '.join(f'{sql} AS s{i}' for i, sql in enumerate(typed))} "
        f"FROM ({scan(relation, raw)}))"
    )


def _label(alias: str) -> str:
    return (
        f"coalesce(CASE WHEN TRY_CAST({alias} AS DOUBLE) = TRY_CAST({alias} AS BIGINT) "
        f"THEN CAST(TRY_CAST({alias} AS BIGINT) AS VARCHAR) END, CAST({alias} AS VARCHAR))"
    )


def _typed(sensor: Sensor, alias: str, kind: str | None, contract: ReadingContract) -> str:
    if sensor.dtype == "bool":
        return alias if kind == "bool" else AS_BOOL.format(alias)
    value = f"TRY_CAST({alias} AS DOUBLE)"
    way = contract.conversion(sensor.source_unit, sensor.unit)
    if way is not None and (way.factor, way.offset) != (1.0, 0.0):
        value = f"({value} * {way.factor!r}::DOUBLE + {way.offset!r}::DOUBLE)"
    return value


def _instant(alias: str, kind: str | None) -> str:
    return f"{'CAST' if kind == 'time' else 'TRY_CAST'}({alias} AS TIMESTAMPTZ)"


def typed_narrow(relation: Relation, contract: ReadingContract, index: int) -> str:
    """SELECT of one narrow file's values with typed columns and the reason of the broken ones.

    Reads the tables `narrow_sensor` and `narrow_unit` that `narrow_tables` fills.
    """
    narrow = contract.narrow
    assert narrow is not None  # noqa: S101 - a file is narrow only if the contract says how
    raw = {column: f"r{place}" for place, column in enumerate(columns_of("narrow", contract))}
    value = raw[narrow.value]
    unit = f"CAST({raw[narrow.unit]} AS VARCHAR)" if narrow.unit else "NULL::VARCHAR"
    good = "true"
    if narrow.quality and narrow.good:
        listed = ", ".join(quoted(word) for word in narrow.good)
        good = f"coalesce(CAST({raw[narrow.quality]} AS VARCHAR) IN ({listed}), true)"
    device_at = _instant(raw[narrow.timestamp], relation.kinds[narrow.timestamp])
    number = f"TRY_CAST({value} AS DOUBLE) * coalesce(u.factor, 1) + coalesce(u.shift, 0)"
    truth = f"CAST({AS_BOOL.format(value)} AS DOUBLE)"
    return (
        f"SELECT *, CASE WHEN line IS NOT NULL THEN '{MALFORMED}' "
        "WHEN key IS NULL THEN 'missing_key' WHEN device_at IS NULL THEN 'bad_timestamp' "
        "WHEN sensor_index IS NULL THEN 'unknown_sensor' "
        "WHEN broken THEN 'bad_value' END AS reason FROM ("
        "SELECT * REPLACE (if(isfinite(device_at), device_at, NULL) AS device_at), "
        "filled AND number IS NULL AS broken, if(number = 0, 0, number) AS value FROM ("
        f"SELECT {index}::INTEGER AS file_index, position, line, {', '.join(raw.values())}, "
        f"CAST({raw[narrow.key]} AS VARCHAR) AS key, {device_at} AS device_at, n.sensor_index, "
        f"{good} AS good, CASE WHEN n.is_bool THEN {truth} ELSE {number} END AS number, "
        f"{value} IS NOT NULL AS filled FROM ({scan(relation, raw)}) "
        f"LEFT JOIN narrow_sensor n ON n.sensor = {raw[narrow.sensor]} "
        f"LEFT JOIN narrow_unit u ON u.sensor_index = n.sensor_index AND u.unit = {unit}))"
    )


def narrow_tables(connection: Any, contract: ReadingContract) -> None:
    """Fill the tables that say what a narrow row's sensor and unit mean."""
    connection.execute(
        "CREATE TEMP TABLE narrow_sensor (sensor VARCHAR, sensor_index INTEGER, is_bool BOOLEAN)"
    )
    connection.execute(
        "CREATE TEMP TABLE narrow_unit "
        "(sensor_index INTEGER, unit VARCHAR, factor DOUBLE, shift DOUBLE)"
    )
    for index, sensor in enumerate(contract.sensor):
        for known in sorted({sensor.name, sensor.column}):
            connection.execute(
                "INSERT INTO narrow_sensor VALUES (?, ?, ?)",
                [known, index, sensor.dtype == "bool"],
            )
        for way in contract.unit:
            if way.to == sensor.unit and sensor.dtype == "float":
                connection.execute(
                    "INSERT INTO narrow_unit VALUES (?, ?, ?, ?)",
                    [index, way.source, way.factor, way.offset],
                )


def pivoted(values: str, contract: ReadingContract) -> str:
    """SELECT of readings from a relation of narrow values, columns as `typed_wide` has them."""
    mask = (1 << _POSITION_BITS) - 1
    columns = ", ".join(
        AS_BOOL.format(f"p{i}") + f" AS s{i}" if s.dtype == "bool" else f"p{i} AS s{i}"
        for i, s in enumerate(contract.sensor)
    )
    picked = ", ".join(
        f"max(CASE WHEN sensor_index = {i} AND good THEN value END) AS p{i}"
        for i in range(len(contract.sensor))
    )
    return (
        f"SELECT CAST(place >> {_POSITION_BITS} AS INTEGER) AS file_index, "
        f"place & {mask} AS position, NULL::VARCHAR AS line, key, device_at, "
        "NULL::TIMESTAMPTZ AS ingested_at, NULL::VARCHAR AS event_id, position AS sequence, "
        f"NULL::VARCHAR AS label, bad_quality, false AS bad_value, "
        f"{columns} FROM (SELECT key, device_at, bool_or(NOT good) AS bad_quality, "
        f"min((file_index::BIGINT << {_POSITION_BITS}) | position) AS place, {picked} "
        f"FROM {values} GROUP BY key, device_at)"
    )


def raw_record(form: Literal["wide", "narrow"], contract: ReadingContract) -> str:
    """A row as it came, as JSON; over the aliases that `typed_wide` and `typed_narrow` keep."""
    pairs = ", ".join(
        f"{quoted(column)}: CAST(r{place} AS VARCHAR)"
        for place, column in enumerate(columns_of(form, contract))
    )
    return f"coalesce(line, to_json({{{pairs}}})::VARCHAR)"


def judged(
    typed: str,
    contract: ReadingContract,
    *,
    form: Literal["wide", "narrow"],
    has_registry: bool,
    bucket_microseconds: int,
) -> str:
    """SELECT of readings as they are staged: typed columns, `reason`, `record` and `bucket`.

    The bucket is the reading's UTC time in whole `bucket_microseconds`, -1 for one that has a
    reason to be quarantined. A narrow file has neither event ids nor a server's clock.
    """
    places = range(len(contract.sensor))
    limit = int(contract.time.drift_limit_hours * HOUR_MICROSECONDS)
    wide = form == "wide"
    clocked = wide and contract.time.ingested is not None
    content = ", ".join(f"coalesce(CAST(s{i} AS VARCHAR), '')" for i in places)
    derived = f"md5(concat_ws('|', key, epoch_us(device_at), {content}))"
    own_id = wide and contract.event.id is not None
    sensors = ", ".join(f"s{i}" for i in places)
    record = raw_record("wide", contract) if wide else canonical_record(contract)
    missing = " AND ".join(f"s{i} IS NULL" for i in places)
    reasons = [
        ("line IS NOT NULL", MALFORMED),
        ("key IS NULL", "missing_key"),
        (f"taken_at IS NULL OR taken_at < {_EARLIEST} OR taken_at >= {_LATEST}", "bad_timestamp"),
        ("NOT known", "unknown_device"),
        *([("event_id IS NULL", "missing_event_id")] if own_id else []),
        ("bad_value", "bad_value"),
        (missing, "all_null"),
    ]
    cases = " ".join(f"WHEN {test} THEN '{reason}'" for test, reason in reasons)
    return (
        f"SELECT file_index, position, {'event_id' if own_id else f'{derived} AS event_id'}, key, "
        "device_at, ingested_at, taken_at, drift, sequence, label, bad_quality, "
        f"{sensors}, reason, "
        f"CASE WHEN reason IS NOT NULL THEN {record} END AS record, "
        "CASE WHEN reason IS NULL "
        f"THEN epoch_us(taken_at) // {bucket_microseconds} ELSE -1 END AS bucket "
        f"FROM (SELECT *, CASE {cases} END AS reason FROM (SELECT t.*, "
        f"{'g.key IS NOT NULL' if has_registry else 'true'} AS known, "
        f"CASE WHEN drift THEN ingested_at ELSE device_at END AS taken_at "
        f"FROM (SELECT *, {_drift(limit) if clocked else 'false'} AS drift FROM ("
        + (_clocked(typed) if clocked else typed)
        + ")) t "
        + ("LEFT JOIN registry g ON g.key = t.key" if has_registry else "")
        + "))"
    )


def _drift(limit_microseconds: int) -> str:
    return f"abs(epoch_us(device_at) - epoch_us(ingested_at)) > {limit_microseconds}"


def _clocked(typed: str) -> str:
    in_range = "TIMESTAMPTZ '0001-01-01 00:00:00+00' AND TIMESTAMPTZ '9999-12-31 23:59:59+00'"
    both = f"device_at BETWEEN {in_range} AND ingested_at BETWEEN {in_range}"
    return (
        f"SELECT * REPLACE (CASE WHEN {both} THEN device_at END AS device_at, "
        f"CASE WHEN {both} THEN ingested_at END AS ingested_at) FROM ({typed})"
    )


def canonical_record(contract: ReadingContract) -> str:
    """A typed reading as JSON, under its clean names."""
    fields = {"event_id": "event_id", contract.key.name: "key", "timestamp": "device_at"}
    if contract.time.ingested:
        fields["timestamp_ingested"] = "ingested_at"
    fields["sequence_number"] = "sequence"
    fields |= {sensor: f"s{i}" for i, sensor in enumerate(contract.sensor_names)}
    pairs = ", ".join(f"{quoted(k)}: CAST({v} AS VARCHAR)" for k, v in fields.items())
    return f"to_json({{{pairs}}})::VARCHAR"


def ruled(contract: ReadingContract, expected: tuple[str, ...]) -> tuple[str, str, str]:
    """Expressions over a staged reading: the sensors, the flags as bits, the nulls.

    Args:
        contract: Its ranges.
        expected: Sensors whose absence the registry (alias `g`) can call a gap, as columns
            `e0`, `e1`, ... of it; empty without a registry.

    Returns:
        Select list of the clean sensors, bit mask over `FLAGS`, and count of null sensors.
    """
    kept, infinite, outside, gaps, nulls = [], [], [], [], []
    for i, sensor in enumerate(contract.sensor):
        tests = []
        if sensor.dtype == "float":
            infinite.append(f"NOT isfinite(s{i})")
            tests.append(f"isfinite(s{i})")
        if sensor.range is not None:
            low, high = sensor.range
            inside = f"s{i} BETWEEN {low!r}::DOUBLE AND {high!r}::DOUBLE"
            outside.append(f"(isfinite(s{i}) AND NOT ({inside}))")
            tests.append(inside)
        value = f"CASE WHEN {' AND '.join(tests)} THEN s{i} END" if tests else f"s{i}"
        kept.append(f"{value} AS {name(sensor.name)}")
        nulls.append(f"({value} IS NULL)::INTEGER")
        if sensor.name in expected:
            gaps.append(f"(s{i} IS NULL AND g.e{i})")
    tests_by_flag = {
        "BAD_QUALITY": "bad_quality",
        "CLOCK_DRIFT": "drift",
        "DUPLICATE_REMOVED": "coalesce(d.copies, 1) > 1",
        "NOT_FINITE": " OR ".join(infinite) or "false",
        "RANGE_VIOLATION": " OR ".join(outside) or "false",
        "SENSOR_GAP": " OR ".join(gaps) or "false",
    }
    bits = " + ".join(
        f"CASE WHEN {tests_by_flag[flag]} THEN {1 << bit} ELSE 0 END"
        for bit, flag in enumerate(FLAGS)
    )
    return ", ".join(kept), f"({bits})::UTINYINT", " + ".join(nulls)
