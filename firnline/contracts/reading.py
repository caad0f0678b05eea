"""The reading contract: what a workload's raw readings must hold, declared in TOML."""

import tomllib
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from firnline.digest import digest
from firnline.errors import HandshakeError

RESERVED = (
    "event_id",
    "timestamp_utc",
    "quality_flags",
    "sensor_null_count",
    "sequence_number",
    "start",
    "end",
    "label",
)


def _inside(pattern: str) -> str:
    path = PurePosixPath(pattern)
    if not pattern or path.is_absolute() or ".." in path.parts or "\\" in pattern:
        raise ValueError(f"{pattern!r} must be a relative path with / and without ..")
    if "**" in pattern:
        raise ValueError(f"{pattern!r} must name its folders; ** is not a pattern here")
    return pattern


Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
Pattern = Annotated[str, AfterValidator(_inside)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Files(_Part):
    """Which files are readings, and how text files are written.

    Attributes:
        readings: Patterns relative to the source; `*` stays within one folder.
        extra: Further files a snapshot keeps, when they are there.
        delimiter: Between the fields of a CSV.
        encoding: Of a CSV; JSON lines are UTF-8 always.
        nested: Object of a JSON line that holds the sensors, when they are not at its top.
        max_out_of_range: Share of a file's values of one sensor that may lie out of range
            before the file counts as written in another unit; 1 turns the check off.
    """

    readings: tuple[Pattern, ...] = Field(min_length=1)
    extra: tuple[Pattern, ...] = ("carbon_intensity.csv",)
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = ","
    encoding: Literal["utf-8", "latin-1"] = "utf-8"
    nested: str | None = None
    max_out_of_range: float = Field(default=0.5, gt=0, le=1)


class Key(_Part):
    """Which entity a reading is of.

    Attributes:
        name: Column of the clean readings.
        source: Column of the raw readings; the same name unless given.
        from_path: The key is the file's path without its suffix, such as `valve1/0`.
    """

    name: Name
    source: str | None = None
    from_path: bool = False

    @property
    def column(self) -> str | None:
        """The raw column, or None when the path is the key."""
        return None if self.from_path else self.source or self.name


class Time(_Part):
    """When a reading was taken. Times without a zone are UTC.

    Attributes:
        device: Column of the device's clock.
        ingested: Column of the server's clock, if there is one.
        drift_limit_hours: Beyond this distance of the two, the server's clock counts.
        step_seconds: Time between an entity's readings.
    """

    device: str
    ingested: str | None = None
    drift_limit_hours: float = Field(default=24.0, gt=0, le=24 * 365)
    step_seconds: float = Field(default=60.0, gt=0)


class Event(_Part):
    """What tells a reading from its copies.

    Attributes:
        id: Column of the event's id; without one it is the digest of the reading's content.
        sequence: Column of the order of arrival; without one the position in the file counts.
    """

    id: str | None = None
    sequence: str | None = None


class Sensor(_Part):
    """One measured quantity.

    Attributes:
        name: Column of the clean readings.
        source: Column of the raw readings; the same name unless given.
        dtype: `float` or `bool`.
        unit: Unit of the clean readings.
        source_unit: Unit of the raw column, when it is converted.
        range: Closed interval in `unit`; what lies outside becomes null, with a flag.
        required: The column must be there in a Parquet or CSV file.
    """

    name: Name
    source: str | None = None
    dtype: Literal["float", "bool"] = "float"
    unit: str = "1"
    source_unit: str | None = None
    range: tuple[float, float] | None = None
    required: bool = True

    @property
    def column(self) -> str:
        """The raw column."""
        return self.source or self.name

    @model_validator(mode="after")
    def _sane(self) -> Self:
        if self.range is not None and self.range[0] >= self.range[1]:
            raise ValueError(f"range {list(self.range)} of {self.name} is not ascending")
        if self.dtype == "bool" and (self.range is not None or self.source_unit is not None):
            raise ValueError(f"{self.name} is a bool: it has neither range nor source_unit")
        return self


class Conversion(_Part):
    """How a value in one unit becomes a value in another: `value * factor + offset`."""

    source: str
    to: str
    factor: float
    offset: float = 0.0


class Narrow(_Part):
    """The narrow form: one row a value instead of one row a reading.

    Attributes:
        key: Column of the entity.
        timestamp: Column of the device's clock.
        sensor: Column that names the sensor, by its `source` or its `name`.
        value: Column of the value; bools are 0 and 1 or true and false.
        unit: Column of the value's unit, if there is one.
        quality: Column of the device's own verdict, if there is one.
        good: Verdicts that let a value stand; empty: every one does.
    """

    key: str = "device_id"
    timestamp: str = "timestamp"
    sensor: str = "sensor_type"
    value: str = "value"
    unit: str | None = "unit"
    quality: str | None = "quality"
    good: tuple[str, ...] = ()


class Registry(_Part):
    """The file that lists every entity; a reading of another one is not clean.

    Attributes:
        file: Path relative to the source.
        key: Column of the entity; the key's clean name unless given.
        sensors: Column of the sensors it carries, separated by blanks, commas, ; or |.
        numbers: Columns that are numbers; every other one stays text.
    """

    file: Pattern
    key: str | None = None
    sensors: str | None = None
    numbers: tuple[str, ...] = ()


class Labels(_Part):
    """What is known to have happened: a file of episodes, or a column of the readings.

    Attributes:
        file: Path of the episodes, relative to the source.
        key: Column of the entity in that file; the key's clean name unless given.
        start: Column of an episode's start, which belongs to it.
        end: Column of an episode's end, which does not.
        label: Column of its name.
        column: Column of the readings whose runs of equal values are the episodes.
        names: Value of that column -> label; whole numbers without a point.
    """

    file: Pattern | None = None
    key: str | None = None
    start: str = "start"
    end: str = "end"
    label: str = "label"
    column: str | None = None
    names: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if (self.file is None) == (self.column is None):
            raise ValueError("labels come from a file or from a column: name one of them")
        if self.column is not None and not self.names:
            raise ValueError("labels.names must say what the column's values mean")
        return self


class ReadingContract(_Part):
    """A whole contract, checked."""

    name: Name
    files: Files
    key: Key
    time: Time
    event: Event = Event()
    sensor: tuple[Sensor, ...] = Field(min_length=1)
    unit: tuple[Conversion, ...] = ()
    narrow: Narrow | None = None
    registry: Registry | None = None
    labels: Labels | None = None

    @property
    def sensor_names(self) -> tuple[str, ...]:
        """The sensors' clean names, in order."""
        return tuple(sensor.name for sensor in self.sensor)

    def clean_columns(self) -> tuple[str, ...]:
        """Columns of a clean reading, in order."""
        return (
            "event_id",
            self.key.name,
            "timestamp_utc",
            *self.sensor_names,
            "quality_flags",
            "sensor_null_count",
            "sequence_number",
        )

    def patterns(self) -> tuple[str, ...]:
        """Every pattern of files the contract names: what a snapshot holds."""
        side = (self.registry and self.registry.file, self.labels and self.labels.file)
        return (*self.files.readings, *(path for path in side if path), *self.files.extra)

    def conversion(self, source: str | None, to: str) -> Conversion | None:
        """How values in unit `source` become `to`; None where no way is declared."""
        if source is None or source == to:
            return Conversion(source=to, to=to, factor=1.0)
        return next((c for c in self.unit if (c.source, c.to) == (source, to)), None)

    def digest(self) -> str:
        """sha256 of the contract's meaning; comments and layout do not count."""
        return digest(self.model_dump(mode="json"))

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [self.key.name, *self.sensor_names]
        columns = [sensor.column.lower() for sensor in self.sensor]
        for what, values in (("name", names), ("source", columns)):
            twice = sorted({value for value in values if values.count(value) > 1})
            if twice:
                raise ValueError(f"{what} {', '.join(twice)} is declared twice")
        taken = sorted(set(names) & set(RESERVED))
        if taken:
            raise ValueError(f"{', '.join(taken)} is a column of every clean reading; rename it")
        for sensor in self.sensor:
            if self.conversion(sensor.source_unit, sensor.unit) is None:
                raise ValueError(
                    f"{sensor.name}: no [[unit]] converts {sensor.source_unit} to {sensor.unit}"
                )
        return self


def load(path: Path) -> ReadingContract:
    """Read and check a reading contract.

    Raises:
        HandshakeError: M4 there is none, M5 it is not TOML or does not fit the schema.
    """
    if not path.is_file():
        raise HandshakeError(
            "M4",
            found="no reading contract",
            where=str(path),
            mend="write one (docs/contracts.md), and name it in the manifest's data.contract",
        )
    try:
        return ReadingContract.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        found = f"not readable as TOML: {error}"
    except ValidationError as error:
        found = "; ".join(
            f"{'.'.join(str(part) for part in item['loc']) or 'contract'}: {item['msg']}"
            for item in error.errors()
        )
    raise HandshakeError("M5", found=found, where=str(path), mend="see docs/contracts.md")
