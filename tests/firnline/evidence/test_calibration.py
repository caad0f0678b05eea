import doctest

import numpy as np
import pytest

from firnline.evidence import calibration
from firnline.evidence.calibration import brier, expected_calibration_error


def test_the_examples_hold():
    result = doctest.testmod(calibration)
    assert (result.attempted > 0, result.failed) == (True, 0)


def test_chances_that_come_true_as_often_as_they_say_have_no_error():
    said = np.repeat(np.array([0.25, 0.75], np.float32), 400)
    truth = np.concatenate([np.arange(400) % 4 == 0, np.arange(400) % 4 != 0])
    assert expected_calibration_error(truth, said) == 0
    assert expected_calibration_error(~truth, said) == pytest.approx(0.5)
    assert brier(truth, said) == pytest.approx(0.25 * 0.75)


def test_certainty_falls_into_the_outer_bins():
    said = np.array([0, 1], np.float32)
    assert expected_calibration_error(np.array([False, True]), said) == 0
    assert expected_calibration_error(np.array([True, False]), said) == 1


def test_no_rows_have_no_figure():
    none = np.empty(0, np.float32)
    assert brier(none.astype(bool), none) is None
    assert expected_calibration_error(none.astype(bool), none) is None
