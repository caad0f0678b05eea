import numpy as np
import pytest

from firnline.contracts.ensemble import Decide
from firnline.evidence.scores import DecisionRule, rule_of


def test_the_score_of_classes_is_that_of_any_fault():
    rule = DecisionRule("a.chance", ("fine", "leak"), 0.5)
    outputs = {"a.chance": np.array([[0.9, 0.1], [0.25, 0.75]], np.float32)}
    scores = rule.scores(outputs)
    assert scores.tolist() == pytest.approx([0.1, 0.75])
    assert rule.decisions(scores).tolist() == [False, True]
    assert rule.faults(np.array(["fine", "leak", ""])).tolist() == [False, True, False]


def test_a_single_score_is_itself_and_lies_above_its_threshold_or_not():
    rule = DecisionRule("a.score", (), 0.5)
    scores = rule.scores({"a.score": np.array([[0.5], [0.6]], np.float32)})
    assert rule.decisions(scores).tolist() == [False, True]
    assert rule.normal == "normal"


def test_the_manifest_sets_the_threshold_or_leaves_it_to_the_recipe():
    assert rule_of(Decide(output="a.b", threshold=0.25), 0.9).threshold == 0.25
    assert rule_of(Decide(output="a.b"), 0.9).threshold == 0.9
    with pytest.raises(ValueError, match="calibrated"):
        rule_of(Decide(output="a.b"), None)
