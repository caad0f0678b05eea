"""The decision in the graph is the rule's, row by row."""

import numpy as np
import onnx
import pytest

from edge.decide import FAULT, FLAGGED, SCORE, with_decision
from edge.parity_run import score
from firnline.evidence.scores import DecisionRule

THRESHOLD = 0.3


def test_with_classes_the_score_is_what_is_not_normal(float_model, rows):
    rule = DecisionRule("score.chance", ("normal", "leak"), THRESHOLD)
    made = score(with_decision(float_model, rule), rows.features)
    scores = rule.scores(made)
    assert np.array_equal(made[SCORE][:, 0], scores)
    assert np.array_equal(made[FLAGGED][:, 0] == 1, rule.decisions(scores))
    assert np.array_equal(made[FAULT][:, 0], made["score.chance"].argmax(axis=1))
    assert 0 < made[FLAGGED].mean() < 1
    assert set(np.unique(made[FLAGGED])) == {0, 1}


def test_without_classes_the_score_is_the_output(float_model, rows):
    rule = DecisionRule("residual.size", (), 2.0)
    made = score(with_decision(float_model, rule), rows.features)
    assert np.array_equal(made[SCORE], made["residual.size"])
    assert np.array_equal(made[FLAGGED][:, 0] == 1, rule.decisions(made[SCORE][:, 0]))
    assert FAULT not in made


def test_a_score_on_the_threshold_is_decided_as_the_rule_does(float_model, rows):
    plain = DecisionRule("residual.size", (), 2.0)
    first = score(with_decision(float_model, plain), rows.features)[SCORE][:, 0]
    place = int(np.argsort(first)[len(first) // 2])
    rule = DecisionRule("residual.size", (), float(first[place]))
    made = score(with_decision(float_model, rule), rows.features)
    assert made[FLAGGED][place, 0] == rule.decisions(first)[place] == 0
    assert np.array_equal(made[FLAGGED][:, 0] == 1, rule.decisions(first))


@pytest.mark.parametrize("classes", [(), ("normal", "leak")])
def test_what_was_there_stays_and_bytes_do_not_change(float_model, rows, classes):
    output = "score.chance" if classes else "residual.size"
    rule = DecisionRule(output, classes, THRESHOLD)
    before = score(float_model, rows.features)
    decided = with_decision(float_model, rule)
    after = score(decided, rows.features)
    assert all(np.array_equal(after[name], before[name]) for name in before)
    assert decided == with_decision(float_model, rule)
    onnx.checker.check_model(onnx.load_from_string(decided), full_check=True)
