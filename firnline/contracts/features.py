"""A window view: one feature expression, its windows, and the identity they have together."""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from firnline.contracts.source import transformation
from firnline.digest import digest, short
from firnline.errors import HandshakeError

TIMESTAMP_COLUMN = "window_end"
WINDOW_COLUMNS = ("window_start", TIMESTAMP_COLUMN)
FEATURE_DTYPE = "float64"
# Where a version's data lies, whatever the machine: the offline store knows the folder.
DATA_SCHEME = "firnline://"

_PARTITION_SECONDS = {"hour": 3_600, "day": 86_400}
_NAME = re.compile(r"[a-z][a-z0-9_]*\Z")


class Version(ABC):
    """A feature version: a reference and a record, and the names that follow from them."""

    @property
    @abstractmethod
    def reference(self) -> str:
        """How a manifest or a lock line names it: `device_window@v1`."""

    @abstractmethod
    def record(self) -> dict[str, Any]:
        """What the version means, as canonical JSON can hold it."""

    @property
    def table(self) -> str:
        """The version baked into a name that is never used twice: `device_window_v1`."""
        return table_name(self.reference)

    @property
    def path(self) -> str:
        """Where its data lies, on every machine: `firnline://device_window_v1`."""
        return f"{DATA_SCHEME}{self.table}"

    def digest(self) -> str:
        """sha256 of the record: the same on every machine and Python version."""
        return digest(self.record())

    @property
    def label(self) -> str:
        """How a version prints: `device_window@v1#9f2c1a`."""
        return f"{self.reference}#{short(self.digest())}"


@dataclass(frozen=True, kw_only=True)
class WindowView(Version):
    """A versioned view of features over clock-aligned windows of clean readings.

    Windows end at multiples of `every_seconds` of UTC epoch time and hold the readings with
    `window_start <= timestamp_utc < window_end`. They tumble when `every_seconds` equals
    `window_seconds` and slide when it is less. A window without readings has no row.

    Attributes:
        name: The view's name, the same over all its versions.
        version: Counts up from 1; a version that has been published never changes.
        entity: What a row is about, such as `device`.
        key: The entity's column.
        window_seconds: Length of a window.
        every_seconds: Time from one window's end to the next.
        ttl_seconds: How old the newest window may be when a row is joined as of some time.
        features: Columns the transformation yields beside key and window, in order; all float64.
        transform: Ibis table of clean readings, this view -> Ibis table with the key,
            `window_start`, `window_end` and the features. A plain function of a module.
        partition: How many readings are read at once; `whole` when a window needs all.
        snapshot: Digest that data.dvc gives the readings (md5), where the version stands for
            these readings alone; None where it may be computed from any.
    """

    name: str
    version: int
    entity: str
    key: str
    window_seconds: int
    every_seconds: int
    ttl_seconds: int
    features: tuple[str, ...]
    transform: Callable[[Any, "WindowView"], Any]
    partition: Literal["hour", "day", "whole"] = "hour"
    snapshot: str | None = None

    def __post_init__(self) -> None:
        """Check what a view must hold.

        Raises:
            HandshakeError: FV1 with every breach at once.
        """
        breaches = list(_breaches(self))
        if breaches:
            raise HandshakeError(
                "FV1",
                found="; ".join(breaches),
                where=f"view {self.name!r}",
                mend="correct the WindowView; docs/features.md lists what each field holds",
            )

    @property
    def reference(self) -> str:
        """How a manifest names the view: `device_window@v1`."""
        return f"{self.name}@v{self.version}"

    @property
    def lookback_seconds(self) -> int:
        """How far before a partition the readings of its first window begin."""
        return self.window_seconds - self.every_seconds

    @property
    def partition_seconds(self) -> int | None:
        """Time one partition spans; None where it is everything."""
        return _PARTITION_SECONDS.get(self.partition)

    def record(self) -> dict[str, Any]:
        """What the view means, as canonical JSON can hold it; layout and comments do not count.

        Raises:
            HandshakeError: FV2 when the transformation has no source to read.
        """
        data = {} if self.snapshot is None else {"snapshot": self.snapshot}
        return data | {
            "name": self.name,
            "version": self.version,
            "entities": [{"name": self.entity, "key": self.key, "dtype": "string"}],
            "fields": [[feature, FEATURE_DTYPE] for feature in self.features],
            "ttl_seconds": self.ttl_seconds,
            "window_seconds": self.window_seconds,
            "every_seconds": self.every_seconds,
            "partition": self.partition,
            "source": {
                "kind": "parquet",
                "path": self.path,
                "timestamp_column": TIMESTAMP_COLUMN,
                "mapping": {},
            },
            "transformation": transformation(self.transform),
        }


def parse_reference(reference: str) -> tuple[str, int]:
    """`device_window@v1` -> (`device_window`, 1).

    Raises:
        HandshakeError: FV3 when the text is no reference.
    """
    name, _, version = reference.partition("@v")
    if not _NAME.match(name) or not re.fullmatch(r"[1-9][0-9]*", version):
        raise HandshakeError(
            "FV3",
            found=f"{reference!r} is no feature reference",
            where="a stage's features",
            mend="write name@vN, such as device_window@v1",
        )
    return name, int(version)


def table_name(reference: str) -> str:
    """`device_window@v1` -> `device_window_v1`."""
    name, version = parse_reference(reference)
    return f"{name}_v{version}"


def _breaches(view: WindowView) -> list[str]:
    found = [
        f"{role} {value!r} is not lower-case letters, digits and underscores"
        for role, value in (("name", view.name), ("entity", view.entity), ("key", view.key))
        if not _NAME.match(value)
    ]
    if view.version < 1:
        found.append(f"version {view.version} is below 1")
    if not 0 < view.every_seconds <= view.window_seconds:
        found.append(
            f"every_seconds {view.every_seconds} is not in 1..window_seconds {view.window_seconds}"
        )
    elif view.window_seconds % view.every_seconds:
        found.append(
            f"window_seconds {view.window_seconds} is no multiple of every_seconds "
            f"{view.every_seconds}"
        )
    elif view.partition_seconds and view.partition_seconds % view.every_seconds:
        found.append(
            f"every_seconds {view.every_seconds} does not divide a partition of one "
            f"{view.partition}"
        )
    if view.ttl_seconds < 1:
        found.append(f"ttl_seconds {view.ttl_seconds} is below 1")
    reserved = {view.key, *WINDOW_COLUMNS, "date", "label", "event_timestamp"}
    if not view.features:
        found.append("it has no features")
    if len(set(view.features)) < len(view.features):
        found.append("a feature is named twice")
    found += [f"feature {name!r} has a reserved name" for name in view.features if name in reserved]
    found += [
        f"feature {name!r} is no lower-case name, or holds a double underscore"
        for name in view.features
        if not _NAME.match(name) or "__" in name
    ]
    return found
