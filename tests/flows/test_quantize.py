"""Which layers stay in float, so that the gate holds; and files that are equal to the last byte."""

import io
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from firnline.contracts.ensemble import Ensemble
from firnline.contracts.quantize import Parity, Quantize
from firnline.workload import Workload, locate
from flows.quantize import _npz, _within_limits, npy
from tests.edge.conftest import net
from tests.edge.small_models import RULE


@pytest.fixture(scope="module")
def rows():
    features = np.random.default_rng(4).normal(size=(600, 4)).astype(np.float32)
    features[::3] += np.float32([3, -3, 3, 3])
    labels = np.where(np.arange(600) % 3 == 0, "leak", "normal")
    return SimpleNamespace(features=features, labels=labels)


def workload(how, limits):
    shipped = locate("refrigeration", Path())
    manifest: Ensemble = shipped.manifest.model_copy(update={"quantize": how, "parity": limits})
    return Workload(manifest, shipped.folder)


def within(rows, limit, *, mixed):
    how = Quantize(ranges="clip", mixed=mixed)
    limits = Parity(max_mean_score_difference=limit)
    whole = workload(how, limits)
    return _within_limits(whole, net(), rows.features, rows, RULE)


def test_a_model_within_its_limits_stays_int8(rows):
    plain, found, _ = within(rows, 0.05, mixed=False)
    mixed, _, how = within(rows, 0.05, mixed=True)
    assert mixed.model == plain.model
    assert how.float_layers == ()
    assert found.mean_score_difference <= 0.05


def test_as_few_layers_as_the_gate_needs_go_back_to_float(rows):
    plain, before, _ = within(rows, 1.0, mixed=False)
    limit = before.mean_score_difference * 0.9
    refused, *_ = within(rows, limit, mixed=False)
    mixed, after, how = within(rows, limit, mixed=True)
    assert refused.model == plain.model
    assert after.mean_score_difference <= limit < before.mean_score_difference
    assert 0 < len(mixed.layers) < len(plain.layers)
    assert set(how.float_layers) == set(plain.layers) - set(mixed.layers)


def test_where_no_mix_is_good_enough_the_gate_still_says_so(rows):
    mixed, found, _ = within(rows, 0.0, mixed=True)
    assert found.mean_score_difference > 0
    assert len(mixed.layers) >= 1


def test_kept_arrays_are_the_same_bytes_every_time(rows):
    assert npy(rows.features) == npy(rows.features.copy())
    first, again = (_npz(rows.features, rows.labels) for _ in range(2))
    assert first == again
    kept = np.load(io.BytesIO(first), allow_pickle=False)
    assert np.array_equal(kept["features"], rows.features)
    assert np.array_equal(kept["labels"], rows.labels)
