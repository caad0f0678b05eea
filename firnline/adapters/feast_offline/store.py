"""`FirnlineOfflineStore`: the class and its configuration, which Feast finds by this module's path.

```yaml
offline_store:
  type: firnline.adapters.feast_offline.store.FirnlineOfflineStore
  data: ../.firnline/features/data
```
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, Literal

import pyarrow as pa
from feast.feature_view import DUMMY_ENTITY_ID, DUMMY_ENTITY_VAL
from feast.infra.offline_stores.offline_store import OfflineStore
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.repo_config import FeastConfigBaseModel
from feast.utils import compute_non_entity_date_range
from pydantic import Field, PositiveInt

from firnline.adapters.feast_offline import (
    asked,
    entity_rows,
    join,
    parquet,
    pull,
    sources,
    write,
)
from firnline.adapters.feast_offline.job import Retrieval
from firnline.adapters.feast_offline.match import Rows
from firnline.errors import HandshakeError


class FirnlineOfflineStoreConfig(FeastConfigBaseModel):  # type: ignore[misc]  # feast has no types
    """The `offline_store` of feature_store.yaml.

    Attributes:
        type: This module's class.
        data: Root of the published partitions that `firnline://<table>` names; a relative path
            starts at the folder of feature_store.yaml.
        snapshots: Table -> digest of the snapshot to read, for a re-assembly; the newest where a
            table is not named.
        verify: Whether partitions' bytes are compared with their digests before they are read.
        rows_at_once: Entity rows joined at once; bounds the memory beside the result's own.
        threads: More than one decodes columns in parallel; also DuckDB's threads.
        memory_limit: DuckDB's memory for entity rows given as a query, with its unit.
        temp_directory: Where DuckDB spills such a query.
    """

    type: Literal["firnline.adapters.feast_offline.store.FirnlineOfflineStore"] = (
        "firnline.adapters.feast_offline.store.FirnlineOfflineStore"
    )
    data: str | None = None
    snapshots: dict[str, str] = Field(default_factory=dict)
    verify: bool = True
    rows_at_once: PositiveInt = 1_000_000
    threads: PositiveInt = 2
    memory_limit: str = "1GB"
    temp_directory: str | None = None


class FirnlineOfflineStore(OfflineStore):  # type: ignore[misc]  # feast has no types
    """Feast's offline store over Parquet files and published partitions."""

    supports_filter_by_created_timestamp = True

    @staticmethod
    def get_historical_features(
        config: Any,
        feature_views: list[Any],
        feature_refs: list[str],
        entity_df: Any,
        registry: Any,
        project: str,
        full_feature_names: bool = False,
        filter_by_created_timestamp: bool = False,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
    ) -> Retrieval:
        """Point-in-time join of views to entity rows; `join.join` gives its definition.

        Args:
            config: The repository's configuration.
            feature_views: Views to join.
            feature_refs: `view:feature`, in the order of the output.
            entity_df: pandas frame, Arrow table or a query in DuckDB's SQL; None for every key
                that has a row between the dates, as of the end date.
            registry: Feast's registry, for on-demand views.
            project: Feast's project.
            full_feature_names: Whether columns are named `view__feature`.
            filter_by_created_timestamp: Whether rows created after the entity row's time are
                left out.
            start_date: Without entity rows, the first time; by default the end less the longest
                TTL, or 30 days.
            end_date: Without entity rows, the time to join as of; now by default.

        Raises:
            HandshakeError: O1 to O10 when configuration, sources and entity rows do not fit.
        """
        place = asked.place_of(config)
        views = asked.views(feature_views, feature_refs, full_feature_names, place)
        settings = config.offline_store
        decode = settings.threads > 1
        if entity_df is None:
            start, end = compute_non_entity_date_range(feature_views, start_date, end_date)
            entities = join.entities(
                views, asked.epoch_nanoseconds(start), asked.epoch_nanoseconds(end), decode
            )
            moment = pa.scalar(end, pa.timestamp("us", tz="UTC"))
            entities = entities.append_column(entity_rows.TIME, pa.repeat(moment, len(entities)))
        elif isinstance(entity_df, str):
            spill = settings.temp_directory and place.repository / settings.temp_directory
            entities = entity_rows.query(
                entity_df, settings.memory_limit, settings.threads, spill or None
            )
        else:
            entities = entity_rows.as_table(entity_df)
        time = entity_rows.time_column(entities)
        entities = entity_rows.in_utc(entities, time)
        entity_rows.check(
            entities,
            [name for view in views for name in view.entity],
            [output for view in views for _, output in view.columns],
        )

        def read() -> Iterator[Any]:
            for first in range(0, max(len(entities), 1), settings.rows_at_once):
                chunk = entities.slice(first, settings.rows_at_once)
                yield join.join(chunk, time, views, decode, filter_by_created_timestamp)

        return Retrieval(
            read,
            place,
            asked.snapshots(view.rows.source for view in views),
            full_feature_names,
            OnDemandFeatureView.get_requested_odfvs(feature_refs, project, registry),
            asked.metadata(entities, time, feature_refs),
        )

    @staticmethod
    def pull_latest_from_table_or_query(
        config: Any,
        data_source: Any,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None,
        start_date: datetime,
        end_date: datetime,
    ) -> Retrieval:
        """Each key's newest row between two times, both included; what materialisation writes.

        Returns:
            Keys, features, timestamp and created timestamp, by the source's own names.

        Raises:
            HandshakeError: O1 to O3 when the source is not there or lacks a column.
        """
        start, end = asked.epoch_nanoseconds(start_date), asked.epoch_nanoseconds(end_date)
        return _pull(
            config,
            data_source,
            join_key_columns,
            feature_name_columns,
            timestamp_field,
            created_timestamp_column,
            lambda rows, columns, decode: pull.newest(rows, columns, start, end, decode),
        )

    @staticmethod
    def pull_all_from_table_or_query(
        config: Any,
        data_source: Any,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None = None,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
    ) -> Retrieval:
        """All rows between two times, both included and each optional, in the source's order.

        Returns:
            Keys, features, timestamp and created timestamp, by the source's own names.

        Raises:
            HandshakeError: O1 to O3 when the source is not there or lacks a column.
        """
        start = None if start_date is None else asked.epoch_nanoseconds(start_date)
        end = None if end_date is None else asked.epoch_nanoseconds(end_date)
        return _pull(
            config,
            data_source,
            join_key_columns,
            feature_name_columns,
            timestamp_field,
            created_timestamp_column,
            lambda rows, columns, decode: pull.scan(rows, columns, start, end, decode),
        )

    @staticmethod
    def offline_write_batch(
        config: Any,
        feature_view: Any,
        table: Any,
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Append rows to a view's plain source; a published version's data is not written here.

        Raises:
            HandshakeError: O1 when the source is not there, O7 when it is published or has other
                columns.
        """
        write.append(table, asked.batch_source(feature_view), asked.place_of(config))
        if progress is not None:
            progress(table.num_rows)

    @staticmethod
    def write_logged_features(
        config: Any, data: Any, source: Any, logging_config: Any, registry: Any
    ) -> None:
        """Add served features to the folder of a `FileLoggingDestination`.

        Raises:
            HandshakeError: O1 or O7 when that is no plain folder on this machine.
        """
        write.log(data, logging_config.destination, asked.place_of(config))

    def validate_data_source(self, config: Any, data_source: Any) -> None:
        """See that a source can be read and has its columns; one without data yet may come.

        Raises:
            HandshakeError: O1 when it is of a kind this store does not read, O3 when it lacks a
                column; a P-code when published data is damaged.
        """
        sources.path_of(data_source)
        try:
            table = asked.columns_of(data_source, asked.place_of(config))
        except HandshakeError as error:
            if error.code in {"O1", "O2"}:
                return
            raise
        wanted = [data_source.timestamp_field, data_source.created_timestamp_column]
        raw = asked.raw_names(data_source)
        parquet.require(table, [raw.get(name, name) for name in wanted if name], data_source.name)

    def get_table_column_names_and_types_from_data_source(
        self, config: Any, data_source: Any
    ) -> Iterable[tuple[str, str]]:
        """Column names and Arrow types of a source, from which Feast infers a schema.

        Raises:
            HandshakeError: O1 or O2 when it is not there.
        """
        schema = asked.columns_of(data_source, asked.place_of(config)).schema
        return [(field.name, str(field.type)) for field in schema]


def _pull(
    config: Any,
    source: Any,
    keys: Sequence[str],
    features: Sequence[str],
    timestamp: str,
    created: str | None,
    read: Callable[[Rows, list[str], bool], Any],
) -> Retrieval:
    place = asked.place_of(config)
    pinned = sources.resolve(source, place)
    real = [name for name in keys if name != DUMMY_ENTITY_ID]
    rows = Rows(pinned.name, pinned, tuple(real), timestamp, created or None)
    columns = list(dict.fromkeys([*real, *features, timestamp, *([created] if created else [])]))
    decode = config.offline_store.threads > 1

    def run() -> Iterator[Any]:
        table = read(rows, columns, decode)
        if not real:
            # Feast writes a view without an entity under one constant key.
            constant = pa.repeat(pa.scalar(DUMMY_ENTITY_VAL), len(table))
            table = table.append_column(DUMMY_ENTITY_ID, constant)
        yield table

    return Retrieval(run, place, asked.snapshots([pinned]))
