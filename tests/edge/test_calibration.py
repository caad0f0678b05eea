from types import SimpleNamespace

import numpy as np
import pytest

from edge.calibration import choose


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
