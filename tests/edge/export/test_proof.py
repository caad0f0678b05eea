"""What is compared, and what speaks against an artifact."""

import numpy as np
import pytest

from edge.export.proof import compare, decisions, reasons
from firnline.contracts.quantize import Parity
from tests.edge.small_models import RULE

GOLDEN = {
    "a": np.arange(12, dtype=np.int8).reshape(4, 3),
    "b": np.linspace(0, 1, 8, dtype=np.float32).reshape(4, 2),
}


def test_equal_values_have_no_worst_window():
    found = compare(GOLDEN, {name: value.copy() for name, value in GOLDEN.items()})
    assert (found.compared, found.differ, found.rows_differ) == (12 + 32, 0, 0)
    assert (found.worst_row, found.worst_value) == (None, None)


def test_every_byte_that_differs_is_counted_with_its_window_and_value():
    other = {name: value.copy() for name, value in GOLDEN.items()}
    other["a"][1, 2] += 1
    other["a"][3] = -1
    other["b"][3, 0] = np.nextafter(other["b"][3, 0], np.float32(2))
    found = compare(GOLDEN, other)
    assert (found.differ, found.rows_differ, found.worst_row, found.worst_value) == (5, 2, 3, "a")
    (told,) = reasons(found, None, Parity(), exact=True)
    assert told.startswith("5 of 44 bytes differ")
    assert told.endswith("in 2 windows, most in window 3 at a")


def test_signs_of_zero_differ_and_forms_of_nan_do_not():
    zeros = {"a": np.zeros((1, 1), np.float32)}
    assert compare(zeros, {"a": -zeros["a"]}).differ == 1
    nan = np.full((1, 1), np.nan, np.float32)
    other = (nan.view(np.uint32) | 0x8000_0001).view(np.float32)
    assert compare({"a": nan}, {"a": other}).differ == 0
    assert compare({"a": nan}, {"a": np.zeros((1, 1), np.float32)}).differ == 2


@pytest.mark.parametrize(
    "given", [GOLDEN["a"][:3], GOLDEN["a"].astype(np.int16), GOLDEN["a"].reshape(4, 3, 1)]
)
def test_another_shape_or_type_is_no_comparison(given):
    with pytest.raises(ValueError, match=r"a is .*, the reference's is int8\[4, 3\]"):
        compare(GOLDEN, {"a": given})


def scores(*values):
    return np.array(values, np.float32)


LABELS = np.array(["normal", "leak", "normal", "leak", ""])


def test_decisions_are_held_to_the_reference_and_beside_float():
    exact, golden = scores(0.1, 0.9, 0.2, 0.6, 0.4), scores(0.1, 0.9, 0.2, 0.4, 0.4)
    found = decisions(RULE, LABELS, exact, golden, scores(0.1, 0.9, 0.7, 0.4, 0.4))
    assert (found.agreement, found.agreement_float) == (0.8, 0.6)
    assert (found.auc_float, found.auc_int8, found.auc_target) == (1.0, 1.0, 0.75)
    assert found.max_score_difference == pytest.approx(0.5)
    assert found.worst_window == 2
    told = reasons(None, found, Parity(), exact=True)
    assert told == (
        "decisions agree on 0.8000, below 1",
        "AUC drops by 0.2500, above 0.01",
    )


def test_a_target_that_is_not_exact_is_held_to_the_limits():
    golden = np.linspace(0, 1, 200, dtype=np.float32)
    labels = np.where(golden > 0.5, "leak", "normal")
    target = golden.copy()
    target[101] = 0.49
    found = decisions(RULE, labels, golden, golden, target)
    assert found.agreement == 0.995
    assert reasons(None, found, Parity(min_agreement=0.99), exact=False) == ()
    assert "decisions agree" in reasons(None, found, Parity(), exact=True)[0]


def test_without_labels_of_both_kinds_there_is_no_auc():
    flat = scores(0.1, 0.9)
    found = decisions(RULE, np.array(["", ""]), flat, flat, flat)
    assert (found.auc_float, found.auc_int8, found.auc_target) == (None, None, None)
    assert reasons(None, found, Parity(), exact=True) == ()


def test_a_window_without_a_score_does_not_hide_the_others():
    nothing = scores(np.nan, 0.9, 0.2)
    found = decisions(RULE, np.array(["", "", ""]), nothing, nothing, scores(np.nan, 0.7, 0.2))
    assert found.max_score_difference == pytest.approx(0.2)
    assert found.worst_window == 1
