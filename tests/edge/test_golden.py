import numpy as np
import pytest

from edge.golden import chosen


@pytest.mark.parametrize(
    ("faulty", "wanted"),
    [
        ([0] * 40, range(16)),
        ([1] * 40, range(16)),
        ([0, 1, 0], [0, 1, 2]),
        ([0] * 30 + [1] * 10, [*range(8), *range(30, 38)]),
        ([0] * 30 + [1] * 3, [*range(13), 30, 31, 32]),
    ],
)
def test_half_of_the_golden_windows_are_of_faults_where_there_are_as_many(faulty, wanted) -> None:
    assert chosen(np.array(faulty, bool)).tolist() == list(wanted)
