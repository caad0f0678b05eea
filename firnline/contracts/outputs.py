"""A stage's outputs as a feature version, whose digest holds the model that computes them.

A stage that is trained again is another model, so its outputs are another version: the stages
that read the old one stay on it until they are trained again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from firnline.contracts.features import Version

OUTPUT_TIMESTAMP = "event_timestamp"
OUTPUT_DTYPE = "float32"


@dataclass(frozen=True, kw_only=True)
class StageOutputs(Version):
    """One version of what a stage gives.

    Attributes:
        ensemble: Whose stage.
        stage: The stage.
        version: Counts up from 1 with every other model.
        entity: What a row is about.
        key: The entity's column.
        fields: Column of each output value, in order; float32.
        ttl_seconds: How old a row may be when it is joined.
        model: Digest of the trained stage.
        reads: Reference -> digest of the features and outputs the model reads.
    """

    ensemble: str
    stage: str
    version: int
    entity: str
    key: str
    fields: tuple[str, ...]
    ttl_seconds: int
    model: str
    reads: Mapping[str, str]

    @property
    def name(self) -> str:
        """The view's name, the same over all its versions: `refrigeration_encoder`."""
        return f"{self.ensemble}_{self.stage}"

    @property
    def reference(self) -> str:
        """As a lock line names it: `refrigeration_encoder@v2`."""
        return f"{self.name}@v{self.version}"

    def record(self) -> dict[str, Any]:
        """What the version means, as canonical JSON can hold it."""
        return {
            "name": self.name,
            "ensemble": self.ensemble,
            "stage": self.stage,
            "version": self.version,
            "entities": [{"name": self.entity, "key": self.key, "dtype": "string"}],
            "fields": [[name, OUTPUT_DTYPE] for name in self.fields],
            "ttl_seconds": self.ttl_seconds,
            "source": {
                "kind": "parquet",
                "path": self.path,
                "timestamp_column": OUTPUT_TIMESTAMP,
                "mapping": {},
            },
            "model": self.model,
            "reads": dict(self.reads),
        }
