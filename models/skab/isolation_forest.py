"""The published Isolation Forest row of SKAB, reproduced with the published setting.

One forest of 100 trees a rig on the eight raw sensors (random_state 0, contamination 0.0005),
fitted on the rig's first readings; its flags for the whole rig pass a median of three readings.
Source: waico/SKAB, `core/Isolation_Forest.py` and `notebooks/isolation_forest.ipynb`.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.dataset
import pyarrow.parquet
from numpy.typing import NDArray
from sklearn.ensemble import IsolationForest

from firnline.contracts.ensemble import Ensemble
from models.evaluate import auc, rates

SENSORS = [
    "accelerometer_1_rms",
    "accelerometer_2_rms",
    "current",
    "pressure",
    "temperature",
    "thermocouple",
    "voltage",
    "volume_flow_rate_rms",
]


def reproduce(ingested: Path, manifest: Ensemble) -> dict[str, Any]:
    """Run the protocol on clean readings.

    Args:
        ingested: Folder of the ingest step: `clean/` and `labels.parquet`.
        manifest: Gives the key and how many first readings of a rig train.

    Returns:
        `f1`, `far` (%), `mar` (%), `auc` over the pooled test readings.
    """
    train_rows, key = manifest.split.first_rows, manifest.key
    readings = _readings(ingested / "clean", key)
    truth: list[NDArray[np.bool_]] = []
    flags: list[NDArray[np.bool_]] = []
    scores: list[NDArray[np.float64]] = []
    for rig, rows in readings.groupby(key, sort=True):
        sensors = rows[SENSORS].reset_index(drop=True)
        forest = fitted(sensors.iloc[:train_rows])
        flagged = pd.Series(forest.predict(sensors) == -1, dtype=float)
        smooth = flagged.rolling(3).median().fillna(0.0).to_numpy() == 1.0
        truth.append(_anomalous(ingested, key, str(rig), rows["timestamp_utc"])[train_rows:])
        flags.append(smooth[train_rows:])
        scores.append(-forest.decision_function(sensors)[train_rows:])
    anomalous = np.concatenate(truth)
    found = rates(anomalous, np.concatenate(flags))
    return {
        "method": "Isolation forest, reproduced",
        "f1": found.f1,
        "far": found.far,
        "mar": found.mar,
        "auc": auc(anomalous, np.concatenate(scores)),
    }


def fitted(sensors: pd.DataFrame) -> IsolationForest:
    """A rig's forest, from its first readings [rows, `SENSORS`]."""
    return IsolationForest(random_state=0, contamination=0.0005).fit(sensors)


def _readings(clean: Path, key: str) -> pd.DataFrame:
    table = pyarrow.dataset.dataset(clean, format="parquet").to_table(
        columns=[key, "timestamp_utc", *SENSORS]
    )
    return table.to_pandas().sort_values([key, "timestamp_utc"], kind="stable")


def _anomalous(ingested: Path, key: str, rig: str, times: "pd.Series[Any]") -> NDArray[np.bool_]:
    episodes = pyarrow.parquet.read_table(
        ingested / "labels.parquet", filters=[(key, "=", rig), ("label", "!=", "normal")]
    ).to_pandas()
    inside = np.zeros(len(times), dtype=bool)
    for start, end in zip(episodes["start"], episodes["end"], strict=True):
        inside |= ((times >= start) & (times < end)).to_numpy()
    return inside
