"""Feast's provider: materialisation by the column, and published versions keep their rows."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from feast import FeatureView
from feast.feature_view import DUMMY_ENTITY_NAME
from feast.infra.passthrough_provider import PassthroughProvider
from feast.stream_feature_view import StreamFeatureView
from feast.utils import _get_column_names, _run_pyarrow_field_mapping

from firnline.adapters.feast_online.base import PackedOnlineStore
from firnline.adapters.feast_online.held import held_by
from firnline.digest import short
from firnline.errors import HandshakeError


class FirnlineProvider(PassthroughProvider):  # type: ignore[misc]  # Feast ships no types
    """Feast's own provider, but for two things.

    Plain views go from the offline store's columns to packed rows without a message a value; what
    needs a transformation goes Feast's way. And a version that a lock holds keeps its online
    rows, whatever a registry without a guard would have removed.
    """

    def materialize_single_feature_view(
        self,
        config: Any,
        feature_view: Any,
        start_date: datetime,
        end_date: datetime,
        registry: Any,
        project: str,
        tqdm_builder: Callable[[int], Any],
        disable_event_timestamp: bool = False,
    ) -> None:
        """Bring each entity's newest row between two times into the online store.

        Raises:
            HandshakeError: N2 when the view's online rows are of another digest, N5 when a row
                has no key.
        """
        store = self.online_store
        if not isinstance(store, PackedOnlineStore) or not _plain(feature_view):
            super().materialize_single_feature_view(
                config,
                feature_view,
                start_date,
                end_date,
                registry,
                project,
                tqdm_builder,
                disable_event_timestamp,
            )
            return
        entities = [registry.get_entity(name, project) for name in feature_view.entities]
        keys, features, timestamp, created = _get_column_names(feature_view, entities)
        newest = self.offline_store.pull_latest_from_table_or_query(
            config=config,
            data_source=feature_view.batch_source,
            join_key_columns=keys,
            feature_name_columns=features,
            timestamp_field=timestamp,
            created_timestamp_column=created,
            start_date=start_date,
            end_date=end_date,
        ).to_arrow()
        newest = _run_pyarrow_field_mapping(newest, feature_view.batch_source.field_mapping or {})
        with tqdm_builder(len(newest)) as bar:
            store.write_table(config, feature_view, newest, bar.update)

    def update_infra(
        self,
        project: str,
        tables_to_delete: Sequence[Any],
        tables_to_keep: Sequence[Any],
        entities_to_delete: Sequence[Any],
        entities_to_keep: Sequence[Any],
        partial: bool,
    ) -> None:
        """Make room for views; the rows of versions that a lock holds stay."""
        held = held_by(self.repo_config, [view.name for view in tables_to_delete])
        super().update_infra(
            project,
            [view for view in tables_to_delete if view.name not in held],
            tables_to_keep,
            entities_to_delete,
            entities_to_keep,
            partial,
        )

    def teardown_infra(self, project: str, tables: Sequence[Any], entities: Sequence[Any]) -> None:
        """Remove everything, unless a lock holds a version of it.

        Raises:
            HandshakeError: N6 when one does; nothing is removed then.
        """
        held = held_by(self.repo_config, [view.name for view in tables])
        if held:
            raise HandshakeError(
                "N6",
                found=", ".join(
                    f"{line.reference} ({short(line.digest)})" for line in held.values()
                )
                + " would lose their online rows",
                where="teardown",
                mend="keep the store while a lock holds its versions; for a store of its own, "
                "use another Feast project and folder",
            )
        super().teardown_infra(project, tables, entities)


def _plain(view: Any) -> bool:
    """Whether a view's rows go online as the source holds them, and nowhere else."""
    return (
        isinstance(view, FeatureView)
        and not isinstance(view, StreamFeatureView)
        and bool(view.entities)
        and DUMMY_ENTITY_NAME not in view.entities
        and view.batch_source is not None
        and bool(view.online)
        and not getattr(view, "offline", False)
        and not getattr(view, "source_views", None)
        and getattr(view, "feature_transformation", None) is None
        and not getattr(view, "aggregations", None)
        and not getattr(view, "udf", None)
        and not getattr(view, "filter", None)
        and not getattr(view, "enable_validation", False)
    )
