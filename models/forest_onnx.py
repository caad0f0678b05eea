"""Forests and boosted trees of scikit-learn -> ONNX that decides as the learner does.

Decisions are taken on sums that are exact (see `models.forest_tables`), so that ONNX Runtime, the
integer reference and a microcontroller agree to the bit. They can differ from the learner's where
its float64 sums lie closer together than `Forest.error`; rows given to `to_onnx` are checked, and
those that lie so close are counted.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from firnline.errors import EvidenceError, HandshakeError
from models.float_onnx import Graph
from models.forest_tables import Tables, Tree, add_to, from_arrays, from_histogram, on_grid, sums
