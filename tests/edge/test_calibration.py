from types import SimpleNamespace

import numpy as np
import pytest

from edge.calibration import choose, sample


def test_rare_labels_and_every_entity_are_in_it(rows):
    chosen = choose(rows, 600)
    keep = np.isin(rows.features[:, 0], chosen.features[:, 0])
    assert len(chosen.features) == 600
    assert set(rows.labels[keep]) == {"normal", "leak", "drift"}
    assert (rows.labels[keep] == "drift").sum() == 5
    assert len(set(rows.entities[keep & (rows.labels == "normal")])) == 20
    assert chosen.note == ""


def test_the_order_of_the_rows_does_not_matter(rows):
    order = np.random.default_rng(2).permutation(2000)
    shuffled = SimpleNamespace(**{name: part[order] for name, part in vars(rows).items()})

    def sorted_rows(features):
        return features[np.lexsort(np.nan_to_num(features, nan=99).T)]

    first, second = (sorted_rows(choose(given, 700).features) for given in (rows, shuffled))
    assert np.array_equal(first, second, equal_nan=True)


@pytest.mark.parametrize("wanted", [100, 5000])
def test_few_rows_are_said_to_be_few(rows, wanted):
    few = SimpleNamespace(**{name: part[:300] for name, part in vars(rows).items()})
    chosen = choose(few, wanted)
    assert len(chosen.features) == min(wanted, 300)
    assert "fewer than the 512" in chosen.note
    assert chosen.document()["rows"] == min(wanted, 300)


def test_a_sample_stands_for_all_rows_whatever_their_order(rows):
    places = sample(rows, 500)
    assert len(set(places.tolist())) == 500 and np.all(np.diff(places) > 0)
    share = (rows.labels[places] == "leak").mean() / (rows.labels == "leak").mean()
    assert 0.3 < share < 2
    assert len(set(rows.entities[places])) == 20

    order = np.random.default_rng(3).permutation(2000)
    shuffled = SimpleNamespace(**{name: part[order] for name, part in vars(rows).items()})
    again = order[sample(shuffled, 500)]
    assert set(again.tolist()) == set(places.tolist())


def test_a_sample_of_few_rows_is_all_of_them(rows):
    few = SimpleNamespace(**{name: part[:30] for name, part in vars(rows).items()})
    assert sample(few, 500).tolist() == list(range(30))
