"""Random graphs of every supported operator, exact on every core or refused by name."""

from tests.edge.random_graphs import check_many

GRAPHS = 40


def test_random_graphs_are_exact_or_refused_by_name():
    found = check_many(GRAPHS, together=5)

    assert found.failures == []
    assert found.bytes_differ == 0
    assert found.exact + found.refused == GRAPHS
    assert found.exact > 30
