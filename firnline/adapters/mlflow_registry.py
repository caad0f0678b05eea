"""The model registry on MLflow: runs, one model a stage and one an ensemble, two aliases.

Everything goes through one client and run ids; MLflow's notion of an active run and of a global
tracking address is left alone, as neither crosses into a Prefect task.
"""

import json
import logging
import os
import platform
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from firnline.adapters.registry_records import (
    Dataset,
    Figures,
    LiveModel,
    ModelRecord,
    Registration,
    TrainingRun,
)
from firnline.contracts.breach import refuse
from firnline.contracts.facts import document, of_document
from firnline.contracts.handshake import Facts, check
from firnline.digest import canonical_json, short

__all__ = [
    "Dataset",
    "Figures",
    "LiveModel",
    "MlflowRegistry",
    "ModelRecord",
    "Registration",
    "TrainingRun",
]

CANDIDATE, LIVE = "candidate", "live"
DIGEST, HANDSHAKE, TRACE = "firnline.digest", "firnline.handshake", "firnline.trace"
PROOF = "firnline.proof"
_DATASET_DIGEST_LENGTH = 36  # MLflow's limit: room for DVC's md5, not for a sha256.
_TAG_LENGTH = 8000
_MODEL_FOLDER = "model"


class MlflowRegistry:
    """Registers candidates, and knows which version is live.

    Args:
        state: State folder; the database and the artifacts lie in `mlflow/` in it.
        tracking_uri: A server's address, to use that instead.
    """

    def __init__(self, state: Path, tracking_uri: str | None = None) -> None:
        self._folder = state / "mlflow"
        self._tracking_uri = tracking_uri
        self._made: Any = None

    def register(self, run: TrainingRun) -> Registration:
        """Log a run with its models and point the alias `candidate` at it.

        What is registered under the same digest is used again, so a run that was killed, or is
        repeated, ends with one version of everything. The ensemble comes last: where it stands,
        its stages do.

        Raises:
            HandshakeError: H1 to H8, the stages do not belong together; nothing is registered.
        """
        refuse(check(run.facts), f"registering {run.ensemble.name}")
        client = self._client()
        before = self._find(run.ensemble)
        run_id = str(before.run_id) if before else self._run(run)
        stages = {stage.name: self._version(stage, run_id) for stage in run.stages}
        together = canonical_json(document(run.facts))
        ensemble = replace(run.ensemble, tags={**run.ensemble.tags, HANDSHAKE: together})
        number = int(before.version) if before else self._version(ensemble, run_id)
        client.set_registered_model_alias(run.ensemble.name, CANDIDATE, str(number))
        client.set_terminated(run_id, "FINISHED")
        return Registration(run.ensemble.name, number, run_id, stages, before is not None)

    def live(self, name: str) -> LiveModel | None:
        """The live version of a registered model; None where none has been promoted.

        Raises:
            HandshakeError: H0 to H8, its stages do not belong together; nothing is loaded.
        """
        return self._aliased(name, LIVE)

    def candidate(self, name: str) -> LiveModel | None:
        """The newest candidate of a registered model; None where none has been registered.

        Raises:
            HandshakeError: H0 to H8, its stages do not belong together; nothing is loaded.
        """
        return self._aliased(name, CANDIDATE)

    def promote(self, name: str, number: int) -> None:
        """Make a version the live one; the one before keeps its number and can come back."""
        self._client().set_registered_model_alias(name, LIVE, str(number))

    def log_trace(
        self,
        name: str,
        key: str,
        *,
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
        folder: Path,
    ) -> str:
        """Log a trace as a run of its own, once; one that was killed while it logged goes on.

        Args:
            name: The ensemble, whose experiment it is.
            key: Digest of all that went into the trace.
            metrics: Figures by name.
            tags: Further facts on the run.
            folder: Its files, kept with the run.

        Returns:
            The run's id.
        """
        from mlflow.entities import Metric, RunTag

        client = self._client()
        experiment = self._experiment(name)
        known = client.search_runs([experiment], f"tags.`{TRACE}` = '{key}'")
        run = known[0] if known else client.create_run(
            experiment, run_name=f"{name} trace {short(key)}", tags={TRACE: key}
        )  # fmt: skip
        run_id = str(run.info.run_id)
        if run.info.status == "FINISHED":
            return run_id
        now = int(datetime.now(UTC).timestamp() * 1000)
        client.log_batch(
            run_id,
            metrics=[Metric(name, value, now, 0) for name, value in sorted(metrics.items())],
            tags=[RunTag(name, value[:_TAG_LENGTH]) for name, value in sorted(tags.items())],
        )
        client.log_artifacts(run_id, str(folder))
        client.set_terminated(run_id, "FINISHED")
        return run_id

    def figures(self, name: str, number: int) -> Figures:
        """What the run of a registered version was told and measured; its id and times are not."""
        client = self._client()
        run_id = str(client.get_model_version(name, str(number)).run_id)
        found = client.get_run(run_id).data
        return Figures(dict(found.params), {name: float(v) for name, v in found.metrics.items()})

    def log_proofs(self, name: str, number: int, proofs: Mapping[str, Mapping[str, Any]]) -> None:
        """Keep what every target proved with a registered version and with its run.

        Args:
            name: The ensemble.
            number: Its version.
            proofs: Target -> record with its `proof` and `artifact_sha256`.
        """
        client = self._client()
        run_id = str(client.get_model_version(name, str(number)).run_id)
        for target, record in sorted(proofs.items()):
            client.log_dict(run_id, dict(record), f"proofs/{target}.json")
            verdict = f"{record['proof']['verdict']} {record['artifact_sha256']}"
            client.set_model_version_tag(name, str(number), f"{PROOF}.{target}", verdict)

    def _aliased(self, name: str, alias: str) -> LiveModel | None:
        import mlflow.artifacts

        client = self._client()
        known = client.search_registered_models(f"name = '{name}'")
        number = known[0].aliases.get(alias) if known else None
        if number is None:
            return None
        found = client.get_model_version(name, str(number))
        where = f"loading {name} version {number}"
        refuse(check(_facts(found.tags.get(HANDSHAKE), where)), where)
        with tempfile.TemporaryDirectory() as folder:
            copied = mlflow.artifacts.download_artifacts(
                artifact_uri=found.source,
                dst_path=folder,
                tracking_uri=self._uri(),
            )
            model = (Path(copied) / "model.onnx").read_bytes()
        digest = str(found.tags[DIGEST])
        return LiveModel(name, int(number), digest, str(found.run_id), dict(found.tags), model)

    def _run(self, run: TrainingRun) -> str:
        """A new MLflow run with parameters, metrics, the dataset and tags."""
        from mlflow.entities import Dataset as LoggedDataset
        from mlflow.entities import DatasetInput, InputTag, Metric, Param, RunTag

        client = self._client()
        experiment = self._experiment(run.ensemble.name)
        made = client.create_run(
            experiment, run_name=f"{run.ensemble.name} {run.ensemble.digest[:6]}"
        )
        run_id = str(made.info.run_id)
        now = int(datetime.now(UTC).timestamp() * 1000)
        client.log_batch(
            run_id,
            metrics=[
                Metric(name, float(value), now, 0)
                for name, value in sorted(run.metrics.items())
                if value is not None
            ],
            params=[Param(name, str(value)) for name, value in sorted(run.params.items())],
            tags=[
                RunTag(name, str(value)[:_TAG_LENGTH])
                for name, value in {
                    **run.tags,
                    DIGEST: run.ensemble.digest,
                    "snapshot.sha256": run.dataset.sha256,
                    "snapshot.dvc": run.dataset.dvc,
                }.items()
            ],
        )
        snapshot = LoggedDataset(
            name=run.dataset.name,
            digest=run.dataset.dvc[:_DATASET_DIGEST_LENGTH],
            source_type="dvc",
            source=run.dataset.source,
        )
        client.log_inputs(
            run_id, [DatasetInput(snapshot, [InputTag("mlflow.data.context", "training")])]
        )
        return run_id

    def _version(self, record: ModelRecord, run_id: str) -> int:
        """The version a record has, registered now unless it was before."""
        before = self._find(record)
        if before is not None:
            return int(before.version)
        client = self._client()
        if not client.search_registered_models(f"name = '{record.name}'"):
            client.create_registered_model(record.name)
        logged = self._log(record, run_id)
        made = client.create_model_version(
            record.name,
            # The place itself: MLflow looks `models:/` up through its global tracking address.
            source=logged.artifact_location,
            run_id=run_id,
            model_id=logged.model_id,
            tags={**record.tags, DIGEST: record.digest},
        )
        return int(made.version)

    def _log(self, record: ModelRecord, run_id: str) -> Any:
        """Store a graph in MLflow's ONNX format; its signature names inputs and outputs."""
        with warnings.catch_warnings():
            # Raised by MLflow about a type hint of its own, when it is first imported.
            warnings.filterwarnings("ignore", ".*Any type hint is inferred", UserWarning)
            import mlflow.pyfunc
        import mlflow.onnx
        from mlflow.entities import LoggedModelOutput
        from mlflow.models import Model

        client = self._client()
        experiment = client.get_run(run_id).info.experiment_id
        logged = client.create_logged_model(experiment, name=record.name, source_run_id=run_id)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / _MODEL_FOLDER
            mlflow.onnx.save_model(
                record.proto,
                str(path),
                mlflow_model=Model(
                    artifact_path=logged.artifact_location,
                    run_id=run_id,
                    model_uuid=logged.model_id,
                    model_id=logged.model_id,
                ),
                signature=_signature(record),
                conda_env=_environment(),
                onnx_execution_providers=["CPUExecutionProvider"],
                save_as_external_data=False,
            )
            client.log_model_artifacts(logged.model_id, str(path))
        client.finalize_logged_model(logged.model_id, "READY")
        client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
        return logged

    def _find(self, record: ModelRecord) -> Any:
        """The version that carries a record's digest, or None."""
        found = self._client().search_model_versions(
            f"name = '{record.name}' and tags.`{DIGEST}` = '{record.digest}'"
        )
        return min(found, key=lambda item: int(item.version), default=None)

    def _experiment(self, name: str) -> str:
        client = self._client()
        found = client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        location = None if self._tracking_uri else (self._folder / "artifacts").resolve().as_uri()
        return str(client.create_experiment(name, artifact_location=location))

    def _client(self) -> Any:
        if self._made is None:
            from mlflow import MlflowClient

            os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
            # Their INFO lines tell of every table made; warnings still come through.
            for name in ("mlflow", "alembic"):
                logging.getLogger(name).setLevel(logging.WARNING)
            (self._folder / "artifacts").mkdir(parents=True, exist_ok=True)
            self._made = MlflowClient(tracking_uri=self._uri(), registry_uri=self._uri())
        return self._made

    def _uri(self) -> str:
        return self._tracking_uri or f"sqlite:///{(self._folder / 'mlflow.db').resolve()}"


def _facts(tag: str | None, where: str) -> Facts:
    try:
        found = json.loads(tag or "null")
    except json.JSONDecodeError:
        found = None
    return of_document(found, where)


def _signature(record: ModelRecord) -> Any:
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    def schema(values: Sequence[tuple[str, int]]) -> Any:
        return Schema(
            [TensorSpec(np.dtype(np.float32), (-1, width), name) for name, width in values]
        )

    return ModelSignature(inputs=schema(record.inputs), outputs=schema(record.outputs))


def _environment() -> dict[str, Any]:
    """What a server needs to run the model; written out, as MLflow's own guess takes seconds."""
    packages = [f"{name}=={version(name)}" for name in ("mlflow", "numpy", "onnx", "onnxruntime")]
    return {
        "name": "firnline",
        "channels": ["conda-forge"],
        "dependencies": [f"python={platform.python_version()}", "pip", {"pip": packages}],
    }
