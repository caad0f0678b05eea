"""Feast's online store interface over packed rows, whatever keeps them."""

import asyncio
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import pyarrow as pa
from feast import utils
from feast.infra.online_stores.helpers import compute_table_id
from feast.infra.online_stores.online_store import OnlineStore
from feast.infra.supported_async_methods import SupportedAsyncMethods

from firnline.adapters.feast_online.codec import unpack
from firnline.adapters.feast_online.feast_keys import encoded, keys_of
from firnline.adapters.feast_online.feast_values import (
    FeastRow,
    batches_of_rows,
    batches_of_table,
    digest_of,
    messages,
    moment,
)
from firnline.adapters.feast_online.fill import count, fill, tell_version
from firnline.adapters.feast_online.partial import completed
from firnline.adapters.feast_online.response import Response
from firnline.adapters.feast_online.rows import Rows, by_layout

Found = list[tuple[datetime | None, dict[str, Any] | None]]


class PackedOnlineStore(OnlineStore):  # type: ignore[misc]  # Feast ships no types
    """One row an entity and feature version, all features packed; the newest row wins.

    A view that carries a version's digest is only ever written and read with that digest.
    """

    @abstractmethod
    def rows(self, config: Any) -> Rows:
        """The packed rows of a Feast configuration."""

    @property
    def async_supported(self) -> Any:
        """Reads and writes may be awaited; they run in a thread."""
        return SupportedAsyncMethods(read=True, write=True)

    def online_write_batch(
        self,
        config: Any,
        table: Any,
        data: Sequence[FeastRow],
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Write rows that Feast made; features that a row leaves out keep their values.

        Raises:
            HandshakeError: N2 when the table is of another digest.
        """
        rows, name = self.rows(config), _table(config, table)
        whole = completed(rows, name, data, table, config.entity_key_serialization_version)
        batches = batches_of_rows(whole, table, config.entity_key_serialization_version)
        rows.write(name, digest_of(table), batches)
        if progress:
            progress(len(data))

    def write_table(
        self, config: Any, view: Any, newest: pa.Table, progress: Callable[[int], Any]
    ) -> int:
        """Write an offline store's columns, without a message a value.

        Args:
            config: Feast's configuration.
            view: The Feast view.
            newest: Keys, features and timestamps, by the view's names.
            progress: Called with rows written since the last call.

        Returns:
            Rows looked at.

        Raises:
            HandshakeError: N2 when the table is of another digest, N5 when a row has no key.
        """
        batches = batches_of_table(newest, view, config.entity_key_serialization_version)
        return self.rows(config).write(
            _table(config, view), digest_of(view), _told(batches, progress)
        )

    def online_read(
        self,
        config: Any,
        table: Any,
        entity_keys: Sequence[Any],
        requested_features: Sequence[str] | None = None,
    ) -> Found:
        """The newest features of entities, as Feast's messages, in the view's order.

        Raises:
            HandshakeError: N1 when a row is of another digest than the view, N3 when one is
                damaged, N4 when the view was never brought online.
        """
        wanted = None if requested_features is None else set(requested_features)
        version = config.entity_key_serialization_version
        keys = [encoded(key, version) for key in entity_keys]
        rows = self.rows(config)
        found = rows.read(_table(config, table), keys)
        answer: Found = [(None, None)] * len(keys)
        for layout, places, stored in by_layout(rows, found, digest_of(table), table.name):
            names = [name for name, _ in layout.fields if wanted is None or name in wanted]
            columns = unpack(layout, [row.row for row in stored], names)
            lists = [messages(columns[name], layout.kinds[name]) for name in names]
            features = [dict(zip(names, each, strict=True)) for each in zip(*lists, strict=True)]
            features = features or [{} for _ in stored]
            for place, row, values in zip(places, stored, features, strict=True):
                answer[place] = (moment(row.event_us), values)
        return answer

    def update(
        self,
        config: Any,
        tables_to_delete: Sequence[Any],
        tables_to_keep: Sequence[Any],
        entities_to_delete: Sequence[Any],
        entities_to_keep: Sequence[Any],
        partial: bool,
    ) -> None:
        """Make room for views, and drop those that are to go."""
        rows = self.rows(config)
        for view in tables_to_keep:
            rows.create(_table(config, view), digest_of(view))
        for view in tables_to_delete:
            rows.drop(_table(config, view))

    def teardown(self, config: Any, tables: Sequence[Any], entities: Sequence[Any]) -> None:
        """Drop the rows of views."""
        rows = self.rows(config)
        for view in tables:
            rows.drop(_table(config, view))

    def get_online_features(self, *args: Any, **kwargs: Any) -> Response:
        """Feast's own answer, each view's features in the view's order."""
        return Response(super().get_online_features(*args, **kwargs))

    async def get_online_features_async(self, *args: Any, **kwargs: Any) -> Response:
        """`get_online_features`, in a thread."""
        return await asyncio.to_thread(self.get_online_features, *args, **kwargs)

    async def online_write_batch_async(
        self,
        config: Any,
        table: Any,
        data: Sequence[FeastRow],
        progress: Callable[[int], Any] | None,
    ) -> None:
        """`online_write_batch`, in a thread."""
        await asyncio.to_thread(self.online_write_batch, config, table, data, progress)

    async def online_read_async(
        self,
        config: Any,
        table: Any,
        entity_keys: Sequence[Any],
        requested_features: Sequence[str] | None = None,
    ) -> Found:
        """`online_read`, in a thread."""
        return await asyncio.to_thread(
            self.online_read, config, table, entity_keys, requested_features
        )

    def _is_versioned_read_supported(self) -> bool:
        return True

    def _read_features_per_fv(
        self,
        config: Any,
        grouped_refs: Sequence[tuple[Any, Sequence[str]]],
        join_key_values: Mapping[str, Sequence[Any]],
        entity_name_to_join_key_map: Mapping[str, str],
        online_features_response: Any,
        full_feature_names: bool,
        include_feature_view_version_metadata: bool,
    ) -> None:
        """Fill Feast's response a column at a time, each view's features in the view's order.

        Feast keeps what is asked for in a set, so its own order differs between processes.
        """
        for view, requested in grouped_refs:
            asked = set(requested)
            names = [field.name for field in view.features if field.name in asked]
            entities, places, size = utils._get_unique_entities(
                view, join_key_values, entity_name_to_join_key_map
            )
            keys = keys_of(entities, config.entity_key_serialization_version)
            rows = self.rows(config)
            found = rows.read(_table(config, view), keys)
            present = fill(
                online_features_response, rows, view, names, found, places, size, full_feature_names
            )
            count(view, present, len(names) * size)
            if include_feature_view_version_metadata:
                tell_version(online_features_response, view)


def _told(batches: Iterable[Any], progress: Callable[[int], Any]) -> Iterable[Any]:
    for batch in batches:
        yield batch
        progress(len(batch.rows))


def _table(config: Any, view: Any) -> str:
    versioning = config.registry.enable_online_feature_view_versioning
    return str(compute_table_id(config.project, view, versioning))
