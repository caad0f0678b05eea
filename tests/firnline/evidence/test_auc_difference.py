import doctest

import numpy as np
import pytest

from firnline.evidence import auc_difference as module
from firnline.evidence.auc_difference import auc_difference, placements
from firnline.evidence.scores import auc


def rows(seed, clusters=30, each=20):
    random = np.random.default_rng(seed)
    cluster = np.repeat(np.arange(clusters), each)
    positive = random.random(len(cluster)) < 0.3
    effect = random.normal(size=clusters)[cluster]
    first = positive + effect + random.normal(size=len(cluster))
    second = np.round(positive + random.normal(size=len(cluster)), 1)
    return positive, first.astype(np.float32), second.astype(np.float32), cluster.astype(str)


def test_the_examples_hold():
    result = doctest.testmod(module)
    assert (result.attempted > 0, result.failed) == (True, 0)


def test_both_kinds_of_placements_average_to_the_auc():
    positive, _, scores, _ = rows(1)
    values = placements(positive, scores)
    assert values[positive].mean() == pytest.approx(auc(positive, scores))
    assert values[~positive].mean() == pytest.approx(auc(positive, scores))


def test_the_difference_is_that_of_the_areas_and_changes_sign():
    positive, first, second, clusters = rows(2)
    found = auc_difference(positive, first, second, clusters)
    assert found.change == pytest.approx(auc(positive, second) - auc(positive, first))
    other = auc_difference(positive, second, first, clusters)
    assert (other.change, other.low) == pytest.approx((-found.change, -found.high))


def test_equal_scores_differ_by_nothing_for_certain():
    positive, first, _, clusters = rows(3)
    found = auc_difference(positive, first, first, clusters)
    assert (found.change, found.low, found.high) == (0, 0, 0)


def test_the_interval_is_that_of_drawing_clusters_again():
    positive, first, second, clusters = rows(4)
    found = auc_difference(positive, first, second, clusters)
    random = np.random.default_rng(0)
    places = [np.flatnonzero(clusters == name) for name in np.unique(clusters)]
    changes = []
    for _ in range(400):
        drawn = np.concatenate([places[n] for n in random.integers(0, len(places), len(places))])
        changes.append(auc(positive[drawn], second[drawn]) - auc(positive[drawn], first[drawn]))
    assert (found.high - found.low) / (2 * 1.96) == pytest.approx(np.std(changes), rel=0.15)


def test_rows_that_only_repeat_others_narrow_nothing():
    positive, first, second, _ = rows(5)
    row = np.arange(len(first))
    once = auc_difference(positive, first, second, row.astype(str))
    many = auc_difference(
        *(np.repeat(part, 5) for part in (positive, first, second, row.astype(str)))
    )
    assert (many.low, many.high) == pytest.approx((once.low, once.high))
    apart = auc_difference(
        *(np.repeat(part, 5) for part in (positive, first, second)),
        np.arange(5 * len(first)).astype(str),
    )
    assert apart.high - apart.low < (once.high - once.low) / 2


def test_what_cannot_be_said_is_not():
    one = np.zeros(4, np.float32)
    names = np.array(["a", "a", "a", "a"])
    assert auc_difference(np.zeros(4, bool), one, one, names) is None
    found = auc_difference(np.array([True, False, True, False]), one, one, names)
    assert (found.change, found.low) == (0, None)
