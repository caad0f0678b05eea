import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score, roc_auc_score

from firnline.evidence.scores import DecisionRule
from models.evaluate import auc, auc_by_class, evaluate, rates

pairs = st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=2, max_size=60)


@given(pairs)
def test_auc_is_that_of_scikit_learn_ties_and_all(rows):
    truth = np.array([positive for positive, _ in rows])
    scores = np.array([value for _, value in rows], np.float32)
    if truth.all() or not truth.any():
        assert auc(truth, scores) is None
    else:
        assert auc(truth, scores) == pytest.approx(roc_auc_score(truth, scores), abs=1e-12)


@given(pairs)
def test_f1_is_that_of_scikit_learn(rows):
    truth = np.array([positive for positive, _ in rows])
    flagged = np.array([value > 3 for _, value in rows])
    found = rates(truth, flagged).f1
    assert (found or 0) == pytest.approx(f1_score(truth, flagged, zero_division=0))


def test_alarm_rates_are_percent():
    truth = np.array([True, True, False, False, False, False])
    flagged = np.array([True, False, True, False, False, False])
    found = rates(truth, flagged)
    assert (found.far, found.mar) == (25.0, 50.0)


def test_each_class_stands_against_normal_alone():
    labels = np.array(["normal", "normal", "leak", "leak", "drift", ""])
    scores = np.array([0.1, 0.4, 0.9, 0.8, 0.2, 1.0], np.float32)
    assert auc_by_class(scores, labels, "normal") == {"leak": 1.0, "drift": 0.5}


def test_evaluate_leaves_unlabelled_rows_out():
    labels = np.array(["normal", "leak", "normal", ""])
    scores = np.array([0.2, 0.9, 0.7, 0.9], np.float32)
    found = evaluate(DecisionRule("a.b", (), 0.5), scores, labels)
    assert (found.rows, found.faulty, found.auc, found.far, found.mar) == (3, 1, 1.0, 50.0, 0.0)
    assert found.flag_everything.far == 100.0
    assert found.document()["flag_everything"]["mar"] == 0.0


def test_without_labels_there_are_no_figures():
    found = evaluate(DecisionRule("a.b", (), 0.5), np.ones(2, np.float32), np.array(["", ""]))
    assert (found.rows, found.auc, found.f1, found.by_class) == (0, None, None, {})
