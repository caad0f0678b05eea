"""A retrieval that runs when its result is asked for, and stays in Arrow until a frame is."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
from feast.infra.offline_stores.offline_store import RetrievalJob, RetrievalMetadata

from firnline.adapters.feast_offline import write
from firnline.adapters.feast_offline.sources import Place


class Retrieval(RetrievalJob):  # type: ignore[misc]  # feast has no types
    """Rows with their features; Feast's base class runs on-demand views over them.

    Attributes:
        snapshots: Published table -> digest of the snapshot that is read, pinned when the
            retrieval was asked for. It names every partition's revision.
    """

    def __init__(
        self,
        read: Callable[[], Iterator[Any]],
        place: Place,
        snapshots: Mapping[str, str],
        full_names: bool = False,
        on_demand: Sequence[Any] = (),
        metadata: Any = None,
    ) -> None:
        self._read = read
        self._place = place
        self.snapshots = dict(snapshots)
        self._full_names = full_names
        self._on_demand = list(on_demand)
        self._metadata = metadata

    def chunks(self) -> Iterator[Any]:
        """The rows before on-demand views, as Arrow tables of `rows_at_once` rows in order.

        Writing each before asking for the next bounds memory, however many entity rows there are.
        """
        return self._read()

    def _to_arrow_internal(self, timeout: int | None = None) -> Any:
        return pa.concat_tables(list(self._read()))

    def _to_df_internal(self, timeout: int | None = None) -> Any:
        return self._to_arrow_internal(timeout).to_pandas()

    @property
    def full_feature_names(self) -> bool:
        """Whether a feature's column begins with its view's name."""
        return self._full_names

    @property
    def on_demand_feature_views(self) -> list[Any]:
        """On-demand views that Feast computes from the joined rows."""
        return self._on_demand

    @property
    def metadata(self) -> RetrievalMetadata | None:
        """Features, keys and times of a historical retrieval."""
        return self._metadata

    def persist(
        self, storage: Any, allow_overwrite: bool = False, timeout: int | None = None
    ) -> None:
        """Write the result as Parquet: one file for a path that ends so, a folder otherwise.

        Raises:
            SavedDatasetLocationAlreadyExists: There is something, and it may not be overwritten.
            HandshakeError: O1 when the storage is no Parquet on this machine, O7 when it is
                published data.
        """
        write.save(self.to_arrow(), storage.to_data_source(), self._place, allow_overwrite)
