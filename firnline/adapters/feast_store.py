"""Feast holds the views: point-in-time training sets offline, newest values online."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from datetime import datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from firnline.adapters.artifact_store import locked, write_atomically
from firnline.adapters.lock_file import read_lock
from firnline.contracts.breach import refuse
from firnline.contracts.features import parse_reference, table_name
from firnline.contracts.handshake import Facts, check
from firnline.contracts.lock import Line, Lock, Versioned, joined
from firnline.digest import canonical_json, digest, short
from firnline.errors import HandshakeError

if TYPE_CHECKING:
    import pyarrow as pa
    from feast import FeatureStore, FeatureView

PROJECT = "firnline"
ROW = "firnline_row"
TIME = "event_timestamp"
_OFFLINE = "firnline.adapters.feast_offline.store.FirnlineOfflineStore"
_ONLINE = "firnline.adapters.feast_online.store.FirnlineOnlineStore"
_PROVIDER = "firnline.adapters.feast_online.provider.FirnlineProvider"


@dataclass(frozen=True)
class FeastStore:
    """The feature store of one state folder.

    Attributes:
        state: Where the registry, the online store and the features' data live.
        locks: Lock files whose versions are published.
        memory_limit: DuckDB's memory for joins, with its unit.
        threads: DuckDB's threads for joins.
        rows_at_once: Rows of a training set joined at once; bounds the memory.
    """

    state: Path
    locks: tuple[Path, ...] = ()
    memory_limit: str = "1GB"
    threads: int = 2
    rows_at_once: int = 250_000

    def apply(self, entity: str, key: str, versions: Sequence[Versioned]) -> None:
        """Register versions as Feast views.

        Args:
            entity: What a row is about.
            key: The entity's column.
            versions: Window views or stage outputs.

        Raises:
            HandshakeError: A G-code when one of them is published and would change.
        """
        from firnline.adapters import feast_objects

        about = feast_objects.entity(entity, key)
        views = [feast_objects.feature_view(version, about) for version in versions]
        with _quiet():
            self._store().apply([about, *views])

    def define(self, facts: Facts, reads: Mapping[str, Sequence[str]]) -> dict[str, str]:
        """Register a service a stage, if the stages belong together.

        A service's name holds the versions it reads, so another choice of versions is another
        service, and what a registered model reads never changes.

        Args:
            facts: What is known of the ensemble's stages.
            reads: Stage -> references of the features and outputs it reads.

        Returns:
            Stage -> the service's name.

        Raises:
            HandshakeError: H1 to H8 when they do not; FV8 when a version is not registered.
        """
        from firnline.adapters import feast_objects

        refuse(check(facts), "definition")
        store = self._store()
        names = {
            stage: f"{facts.ensemble}_{stage}_{short(digest(list(references)))}"
            for stage, references in reads.items()
        }
        with _quiet():
            views = {
                reference: self._view(store, reference)
                for references in reads.values()
                for reference in references
            }
            wanted = {names[stage]: references for stage, references in reads.items()}
            store.apply(list(feast_objects.feature_services(wanted, views).values()))
        path = feast_objects.services_path(self.state)
        with locked(path.with_suffix(".flock")):
            known = feast_objects.read_document(path)
            known |= {
                name: {"ensemble": facts.ensemble, "reads": list(references)}
                for name, references in wanted.items()
            }
            write_atomically(path, canonical_json(known) + "\n")
        return names

    def training_set(
        self,
        spine: Path,
        references: Sequence[str],
        out: Path,
        snapshots: Mapping[str, str] | None = None,
    ) -> int:
        """Join each row with the newest window that had ended by then and is within its TTL.

        Args:
            spine: Parquet with the key, `event_timestamp` (UTC) and `label`.
            references: Versions as `name@vN`, in column order.
            out: Parquet to write: key, `event_timestamp`, `view__feature` float32, `label`;
                the spine's rows in the spine's order.
            snapshots: Reference -> digest of the data to read; the newest when not given.

        Returns:
            Rows written.

        Raises:
            HandshakeError: FV8 when a view is not registered, FV9 when Feast does not return
                each row once, a P-code when the data is not what was committed.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        tables = {table_name(name): found for name, found in (snapshots or {}).items()}
        store = self._store(tables)
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
        with pq.ParquetWriter(partial, schema, compression="zstd") as writer:
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
            views: Versions as `name@vN`.

        Raises:
            HandshakeError: FV8 when a view is not registered.
        """
        store = self._store()
        for reference in views:
            view = self._view(store, reference)
            with _quiet():
                store.materialize(
                    start_date=end - (view.ttl or timedelta(0)),
                    end_date=end,
                    feature_views=[view.name],
                )

    def online(
        self, keys: Sequence[str], references: Sequence[str], digests: Mapping[str, str]
    ) -> dict[str, list[Any]]:
        """The newest materialised values, of exactly the versions a model was trained on.

        Read without Feast, whose objects would take longer to make than the values to find.

        Args:
            keys: Entities by key.
            references: Versions as `name@vN`, in column order.
            digests: Reference -> digest of the version the model was trained on.

        Returns:
            The key's column and every `view__feature`, one value a key in the order given;
            None where there is none.

        Raises:
            HandshakeError: FV8 when a version is not published, H1 when another digest is; an
                N-code when the online store holds another digest, or nothing of the version.
        """
        from firnline.adapters.feast_online.read import read
        from firnline.adapters.feast_online.sqlite_rows import SqliteRows

        lock = joined({str(path): read_lock(path) for path in self.locks})
        lines = [_line(lock, reference, digests[reference]) for reference in references]
        rows = SqliteRows((self.state / "feast" / "online.db").resolve())
        found: dict[str, list[Any]] = {}
        try:
            for line in lines:
                (about,) = line.record["entities"]
                features = [name for name, _ in line.record["fields"]]
                table = f"{PROJECT}_{line.table}"
                values = read(rows, table, {about["key"]: keys}, features, line.digest)
                found[about["key"]] = values.pop(about["key"])
                name, _ = parse_reference(line.reference)
                found |= {f"{name}__{feature}": made for feature, made in values.items()}
        finally:
            rows.close()
        return found

    def _store(self, snapshots: Mapping[str, str] | None = None) -> "FeatureStore":
        from feast import FeatureStore, RepoConfig

        folder = (self.state / "feast").resolve()
        folder.mkdir(parents=True, exist_ok=True)
        locks = "".join(f"&firnline_lock={quote(str(path.resolve()))}" for path in self.locks)
        config = RepoConfig(
            project=PROJECT,
            provider=_PROVIDER,
            registry={
                "registry_type": "sql",
                "path": f"sqlite:///{folder / 'registry.db'}?plugin=firnline{locks}",
            },
            online_store={"type": _ONLINE, "path": str(folder / "online.db")},
            offline_store={
                "type": _OFFLINE,
                "data": str((self.state / "features" / "data").resolve()),
                "snapshots": dict(snapshots or {}),
                "memory_limit": self.memory_limit,
                "threads": self.threads,
                "temp_directory": str(folder / "spill"),
            },
            entity_key_serialization_version=3,
            repo_path=folder,
        )
        return FeatureStore(config=config)

    def _view(self, store: "FeatureStore", reference: str) -> "FeatureView":
        from feast.errors import FeatureViewNotFoundException

        try:
            return store.get_feature_view(table_name(reference))
        except FeatureViewNotFoundException as error:
            raise HandshakeError(
                "FV8",
                found=f"{reference} is not a registered view",
                where="Feast's registry",
                mend="run the features step first, with the view among VIEWS of the feature module",
            ) from error


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
    if not np.array_equal(found[ROW].to_numpy(), np.arange(len(chunk))):
        raise HandshakeError(
            "FV9",
            found=f"{len(found)} rows, or another order, for {len(chunk)} of the spine",
            where="Feast's historical join",
            mend="use firnline's offline store; see that no view holds a window twice",
        )
    return found.rename_columns([names.get(name, name) for name in found.column_names])


def _line(lock: Lock, reference: str, wanted: str) -> Line:
    """The published version that a model was trained on.

    Raises:
        HandshakeError: FV8 or H1.
    """
    line = lock.get(reference)
    if line is None:
        raise HandshakeError(
            "FV8",
            found=f"{reference} is not a published version",
            where="an online read",
            mend=f"publish it: firnline lock add {reference}",
        )
    if line.digest != wanted:
        raise HandshakeError(
            "H1",
            found=f"the model was trained on #{short(wanted)}, published is {line.label}",
            where="an online read",
            mend="serve the model where its features are published, or train it again",
        )
    return line


@contextmanager
def _quiet() -> Iterator[None]:
    """Feast prints its progress; a flow has its own log."""
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()), warnings.catch_warnings():
        yield
