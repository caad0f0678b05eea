from pathlib import Path

import numpy as np
import pytest

from firnline.contracts.ensemble import Ensemble
from models.recipe import Frame

RECIPES = Path(__file__).parents[1] / "resources" / "recipes"


@pytest.fixture
def recipes(monkeypatch):
    monkeypatch.syspath_prepend(str(RECIPES))


@pytest.fixture
def frame():
    """Ten entities, twelve rows each, two columns; a fault in the last rows of every third."""
    entities = np.repeat([f"e{number}" for number in range(10)], 12)
    times = np.tile(np.arange(12, dtype=np.int64) * 1_000_000, 10)
    random = np.random.default_rng(3)
    features = random.random((120, 2)).astype(np.float32)
    faulty = (np.arange(120) // 12 % 3 == 0) & (times > 6_000_000)
    return Frame(
        features=features,
        names=("view__a", "view__b"),
        labels=np.where(faulty, "fault", "normal"),
        entities=entities,
        times=times,
    )


@pytest.fixture
def manifest():
    def make(stages, **parts):
        last = stages[-1]
        return Ensemble.model_validate(
            {
                "ensemble": {"name": "small", "entity": "thing", "key": "thing_id"},
                "features": {"module": "none"},
                "stage": stages,
                "decide": {"output": f"{last['name']}.{last['outputs'][0]['name']}"},
                "split": {"folds": 3, "train_fraction": 0.6},
                **parts,
            }
        )

    return make


@pytest.fixture
def stage():
    def make(name, recipe, output, **parts):
        return {
            "name": name,
            "recipe": f"small_recipes:{recipe}",
            "features": ["view@v1"],
            "outputs": [{"name": output}],
            **parts,
        }

    return make
