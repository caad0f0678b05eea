"""What a model registry is told, and what it tells; values alone, whichever tool keeps them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from firnline.contracts.handshake import Facts


@dataclass(frozen=True)
class Dataset:
    """The raw-reading snapshot a run was trained on.

    Attributes:
        name: The ensemble's name under data/.
        source: Where it lies, as data.dvc names it.
        dvc: DVC's md5, `.dir` at its end for a folder.
        sha256: Our own digest of it.
    """

    name: str
    source: str
    dvc: str
    sha256: str


@dataclass(frozen=True)
class ModelRecord:
    """One ONNX model to register.

    Attributes:
        name: The registered model's name.
        digest: What it is; a digest that is registered already is not registered again.
        proto: The graph as an ONNX ModelProto.
        inputs: Name and width of each input, float32 [rows, width].
        outputs: Name and width of each output, likewise.
        tags: Further facts, such as feature references.
    """

    name: str
    digest: str
    proto: Any
    inputs: Sequence[tuple[str, int]]
    outputs: Sequence[tuple[str, int]]
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainingRun:
    """A whole training run.

    Attributes:
        ensemble: The ensemble's own model.
        stages: One model a stage, in manifest order.
        dataset: What it was trained on.
        facts: What the handshake is told of the ensemble.
        params: The manifest's settings, flat.
        metrics: Figures by name; those that are None are left out.
        tags: Further facts on the run.
    """

    ensemble: ModelRecord
    stages: Sequence[ModelRecord]
    dataset: Dataset
    facts: Facts
    params: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Figures:
    """What a run says of how a model was made and how good it is.

    Attributes:
        params: Settings by name, as text.
        metrics: Figures by name, such as `test.auc` and `test.auc.slow_leak`.
    """

    params: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Registration:
    """Where a run stands in the registry.

    Attributes:
        name: Of the ensemble's registered model.
        version: Its version, counting from 1.
        run_id: MLflow's id of the run.
        stages: Registered model -> version, for every stage.
        reused: Whether all of it was there before.
    """

    name: str
    version: int
    run_id: str
    stages: dict[str, int]
    reused: bool


@dataclass(frozen=True)
class LiveModel:
    """The version that devices run.

    Attributes:
        name: Of the registered model.
        version: Its version.
        digest: What it is.
        run_id: The run it came from.
        tags: Its tags.
        model: Its ONNX bytes.
    """

    name: str
    version: int
    digest: str
    run_id: str
    tags: Mapping[str, str]
    model: bytes
