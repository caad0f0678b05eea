"""Feast holds the views: point-in-time training sets offline, newest values online."""

import json
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from datetime import datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from firnline.contracts.features import WindowView, parse_reference, table_name
from firnline.errors import HandshakeError

if TYPE_CHECKING:
    import pyarrow as pa
    from feast import FeatureStore, FeatureView

ROW = "firnline_row"
TIME = "event_timestamp"


@dataclass(frozen=True)
class FeastStore:
    """The feature store of one state folder.

    Attributes:
        state: Where the registry, the online store and the pointer files live.
        memory_limit: DuckDB's memory for joins, with its unit.
        threads: DuckDB's threads for joins.
        rows_at_once: Rows of a training set joined at once; bounds the memory.
    """

    state: Path
    memory_limit: str = "1GB"
    threads: int = 2
    rows_at_once: int = 50_000

    def apply(
        self,
        ensemble: str,
        entity: str,
        key: str,
        views: Sequence[tuple[WindowView, Path]],
        services: Mapping[str, Sequence[str]],
    ) -> None:
        """Register views on their computed folders, then point `feast apply` at the same.

        Raises:
            HandshakeError: FV8 when a service names a view that is not among `views`.
        """
        from firnline.adapters import feast_objects

        about = feast_objects.entity(entity, key)
        folders = {view.reference: str(folder.resolve()) for view, folder in views}
        for name, references in services.items():
            for reference in references:
                if reference not in folders:
                    raise _unknown(reference, f"service {name}")
        built = {
            view.reference: feast_objects.feature_view(
                view, about, feast_objects.source(view, Path(folders[view.reference]))
            )
            for view, _ in views
        }
        stages = feast_objects.feature_services(services, built)
        with _quiet():
            self._store().apply([about, *built.values(), *stages.values()])
        _write_json(
            feast_objects.pointer_path(self.state, ensemble),
            {
                "ensemble": ensemble,
                "views": folders,
                "services": {name: list(references) for name, references in services.items()},
            },
        )

    def training_set(self, spine: Path, references: Sequence[str], out: Path) -> int:
        """Join each row with the newest window that had ended by then and is within its TTL.

        Args:
            spine: Parquet with the key, `event_timestamp` (UTC) and `label`.
            references: Views as `name@vN`, in column order.
            out: Parquet to write: key, `event_timestamp`, `view__feature` float32, `label`;
                the spine's rows in the spine's order.

        Returns:
            Rows written.

        Raises:
            HandshakeError: FV8 when a view is not registered, FV9 when Feast does not return
                each row once.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        store = self._store()
        views = [self._view(store, reference) for reference in references]
        key = views[0].entity_columns[0].name
        wanted = [f"{view.name}:{field.name}" for view in views for field in view.features]
        names = _column_names(references, views)
        schema = pa.schema(
            [
                (key, pa.string()),
                (TIME, pa.timestamp("us", tz="UTC")),
                *((name, pa.float32()) for name in names.values()),
                ("label", pa.string()),
            ]
        )
        rows = pq.read_table(spine, columns=[key, TIME, "label"])
        partial = out.with_name(f".{out.name}")
        with pq.ParquetWriter(partial, schema, compression="zstd") as writer, self._engine():
            for start in range(0, len(rows), self.rows_at_once):
                chunk = rows.slice(start, self.rows_at_once)
                joined = _join(store, chunk, wanted, names)
                writer.write_table(joined.select(schema.names).cast(schema))
        partial.replace(out)
        return len(rows)

    def materialize(self, end: datetime, views: Sequence[str]) -> None:
        """Bring the newest values at or before `end` into the online store.

        Args:
            end: UTC; a window that ended more than its view's TTL earlier is left out.
            views: Views as `name@vN`.

        Raises:
            HandshakeError: FV8 when a view is not registered.
        """
        store = self._store()
        with self._engine():
            for reference in views:
                view = self._view(store, reference)
                with _quiet():
                    store.materialize(
                        start_date=end - (view.ttl or timedelta(0)),
                        end_date=end,
                        feature_views=[view.name],
                    )

    def online(self, keys: Sequence[str], references: Sequence[str]) -> dict[str, list[Any]]:
        """The newest materialised values.

        Args:
            keys: Entities by key.
            references: Views as `name@vN`, in column order.

        Returns:
            The key's column and every `view__feature`, one value a key in the order given;
            None where there is none.

        Raises:
            HandshakeError: FV8 when a view is not registered.
        """
        store = self._store()
        views = [self._view(store, reference) for reference in references]
        key = views[0].entity_columns[0].name
        names = _column_names(references, views)
        found = store.get_online_features(
            features=[f"{view.name}:{field.name}" for view in views for field in view.features],
            entity_rows=[{key: value} for value in keys],
            full_feature_names=True,
        ).to_dict()
        # Feast's order of features differs from process to process, so each is taken by name.
        return {key: list(found[key])} | {new: list(found[old]) for old, new in names.items()}

    def _store(self) -> "FeatureStore":
        from feast import FeatureStore, RepoConfig

        from firnline.adapters.feast_objects import PROJECT

        folder = (self.state / "feast").resolve()
        folder.mkdir(parents=True, exist_ok=True)
        config = RepoConfig(
            project=PROJECT,
            provider="local",
            registry={
                "registry_type": "sql",
                "path": f"sqlite:///{folder / 'registry.db'}",
            },
            online_store={"type": "sqlite", "path": str(folder / "online.db")},
            offline_store={"type": "duckdb"},
            entity_key_serialization_version=3,
            repo_path=folder,
        )
        return FeatureStore(config=config)

    def _view(self, store: "FeatureStore", reference: str) -> "FeatureView":
        from feast.errors import FeatureViewNotFoundException

        try:
            return store.get_feature_view(table_name(reference))
        except FeatureViewNotFoundException as error:
            raise _unknown(reference, "Feast's registry") from error

    @contextmanager
    def _engine(self) -> Iterator[None]:
        """Feast takes Ibis's default backend; give it one with limits for the while."""
        import ibis

        before = ibis.options.default_backend
        engine = ibis.duckdb.connect(
            threads=self.threads,
            memory_limit=self.memory_limit,
            temp_directory=str(self.state / "feast" / "spill"),
        )
        # Timestamps come back in the session's zone, and windows are UTC.
        engine.raw_sql("SET TimeZone='UTC'")
        ibis.set_backend(engine)
        try:
            with warnings.catch_warnings():
                # Ibis calls DuckDB by an old name, and Feast turns such warnings on.
                warnings.filterwarnings("ignore", "fetch_arrow_table", DeprecationWarning)
                yield
        finally:
            ibis.options.default_backend = before
            engine.disconnect()


def _column_names(references: Sequence[str], views: Sequence["FeatureView"]) -> dict[str, str]:
    """Feast's full feature name -> ours, which leaves the version out."""
    return {
        f"{view.name}__{field.name}": f"{parse_reference(reference)[0]}__{field.name}"
        for reference, view in zip(references, views, strict=True)
        for field in view.features
    }


def _join(
    store: "FeatureStore", chunk: "pa.Table", wanted: list[str], names: Mapping[str, str]
) -> "pa.Table":
    import numpy as np
    import pyarrow as pa

    numbered = chunk.append_column(ROW, pa.array(np.arange(len(chunk), dtype=np.int64)))
    found = store.get_historical_features(
        entity_df=numbered.to_pandas(), features=wanted, full_feature_names=True
    ).to_arrow()
    found = found.sort_by(ROW)
    if found[ROW].to_pylist() != list(range(len(chunk))):
        raise HandshakeError(
            "FV9",
            found=f"{len(found)} rows for {len(chunk)} of the spine",
            where="Feast's historical join",
            mend="use Feast's duckdb offline store; see that no view holds a window twice",
        )
    return found.rename_columns([names.get(name, name) for name in found.column_names])


def _unknown(reference: str, where: str) -> HandshakeError:
    return HandshakeError(
        "FV8",
        found=f"{reference} is not a registered view",
        where=where,
        mend="run the features step first, with the view among VIEWS of the feature module",
    )


def _write_json(path: Path, document: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    partial.replace(path)


@contextmanager
def _quiet() -> Iterator[None]:
    """Feast prints its progress; a flow has its own log."""
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        yield
