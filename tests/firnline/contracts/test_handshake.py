"""Each rule of the handshake, broken alone and broken together."""

from dataclasses import replace

import pytest

from firnline.contracts.breach import refuse
from firnline.contracts.facts import document, of_document
from firnline.contracts.handshake import Clock, Columns, Facts, StageFacts, check
from firnline.errors import HandshakeError

CLOCK = Clock("device", "device_id", "window_end", 900, 900)
RESIDUAL = Columns("float32", 3, (-8.0, 8.0))
ERROR = Columns("float32", 1)
READS = {"device_window@v1": "a" * 64}
ENCODER = StageFacts(
    "encoder",
    READS,
    CLOCK,
    outputs={"residual": RESIDUAL, "error": ERROR},
    digest="e1" * 32,
)
CLASSIFIER = StageFacts(
    "classifier",
    READS,
    CLOCK,
    upstream={"encoder.residual": RESIDUAL, "encoder.error": ERROR},
    outputs={"probability": ERROR},
    digest="c1" * 32,
    learned_from={"encoder": "e1" * 32},
)
GOOD = Facts("fleet", ("encoder", "classifier"), (ENCODER, CLASSIFIER), READS, ("features",))


def stages(encoder: StageFacts = ENCODER, classifier: StageFacts = CLASSIFIER) -> Facts:
    return replace(GOOD, stages=(encoder, classifier))


def upstream(**changes: Columns) -> StageFacts:
    return replace(CLASSIFIER, upstream={f"encoder.{name}": made for name, made in changes.items()})


BROKEN = {
    "not published": ("H1", replace(GOOD, lock={}), "firnline lock add device_window@v1"),
    "published as another": (
        "H1",
        replace(GOOD, lock={"device_window@v1": "b" * 64, "device_window@v4": "c" * 64}),
        "device_window@v5",
    ),
    "two versions": (
        "H2",
        replace(
            stages(classifier=replace(CLASSIFIER, features={"device_window@v2": "d" * 64})),
            lock={**READS, "device_window@v2": "d" * 64},
        ),
        "v2 by classifier",
    ),
    "two entities": (
        "H3",
        stages(classifier=replace(CLASSIFIER, clock=replace(CLOCK, entity="rig"))),
        "rig by device_id",
    ),
    "two windows": (
        "H3",
        stages(classifier=replace(CLASSIFIER, clock=replace(CLOCK, window_seconds=3600))),
        "3600 s",
    ),
    "two timestamps": (
        "H3",
        stages(classifier=replace(CLASSIFIER, clock=replace(CLOCK, timestamp_column="at"))),
        "of at",
    ),
    "another width": (
        "H4",
        stages(classifier=upstream(residual=Columns("float32", 4, (-8.0, 8.0)), error=ERROR)),
        "float32[4]",
    ),
    "another dtype": (
        "H4",
        stages(classifier=upstream(residual=Columns("float64", 3, (-8.0, 8.0)), error=ERROR)),
        "float64[3]",
    ),
    "another range": (
        "H4",
        stages(classifier=upstream(residual=Columns("float32", 3, (-4.0, 4.0)), error=ERROR)),
        "[-4, 4]",
    ),
    "another name": ("H4", stages(classifier=upstream(residue=RESIDUAL)), "encoder.residue"),
    "another order": (
        "H4",
        stages(classifier=upstream(error=ERROR, residual=RESIDUAL)),
        "order is encoder.residual, encoder.error",
    ),
    "a mixed pair": (
        "H5",
        stages(encoder=replace(ENCODER, digest="e2" * 32)),
        "learned from encoder#e1e1e1 and would be fed by encoder#e2e2e2",
    ),
    "an unknown teacher": (
        "H5",
        stages(classifier=replace(CLASSIFIER, learned_from={})),
        "nothing",
    ),
    "fitted answers": ("H5", stages(classifier=replace(CLASSIFIER, out_of_fold=False)), "fold"),
    "a missing stage": ("H6", replace(GOOD, stages=(CLASSIFIER,)), "lacks encoder"),
    "a stray stage": ("H6", replace(GOOD, declared=("encoder",)), "classifier"),
    "scaling outside": ("H7", replace(GOOD, inputs=("features", "scale")), "scale"),
    "no features in": ("H7", replace(GOOD, inputs=()), "nothing"),
    "a part swapped": (
        "H8",
        replace(GOOD, held={"encoder": "e2" * 32, "classifier": "c1" * 32}),
        "stage encoder",
    ),
    "a part lost": ("H8", replace(GOOD, held={"encoder": "e1" * 32}), "nothing"),
    "a part too much": (
        "H8",
        replace(GOOD, held={"encoder": "e1" * 32, "classifier": "c1" * 32, "old": "0" * 64}),
        "stage old",
    ),
}


def test_what_belongs_together_is_not_refused() -> None:
    assert check(GOOD) == ()
    assert check(replace(GOOD, held={"encoder": "e1" * 32, "classifier": "c1" * 32})) == ()
    refuse(check(GOOD), "training")


@pytest.mark.parametrize("name", BROKEN)
def test_every_rule_has_its_breach(name: str) -> None:
    code, facts, told = BROKEN[name]
    found = check(facts)
    assert {breach.code for breach in found} == {code}
    assert any(told in " ".join((breach.found, breach.where, breach.mend)) for breach in found)
    assert all(breach.mend for breach in found)


def test_before_training_only_what_is_known_is_checked() -> None:
    untrained = tuple(
        replace(stage, digest=None, learned_from={}, clock=None) for stage in GOOD.stages
    )
    assert check(replace(GOOD, stages=untrained, inputs=None)) == ()


def test_all_breaches_are_told_at_once() -> None:
    facts = replace(
        stages(
            encoder=replace(ENCODER, digest="e2" * 32),
            classifier=replace(CLASSIFIER, clock=replace(CLOCK, key="rig_id")),
        ),
        lock={},
        inputs=("features", "scale"),
    )
    found = check(facts)
    assert [breach.code for breach in found] == ["H1", "H1", "H3", "H5", "H7"]
    with pytest.raises(HandshakeError) as caught:
        refuse(found, "bundling fleet")
    assert caught.value.code == "H1"
    assert caught.value.where == "bundling fleet"
    assert all(f"[{code}]" in caught.value.found for code in ("H1", "H3", "H5", "H7"))
    assert "train classifier on the outputs of encoder#e2e2e2" in caught.value.mend


def test_facts_survive_json() -> None:
    facts = replace(GOOD, held=None)
    assert of_document(document(facts), "here") == facts
    assert check(of_document(document(facts), "here")) == ()


@pytest.mark.parametrize(
    "damage",
    [
        lambda found: found.pop("stages"),
        lambda found: found.update(lock=[]),
        lambda found: found["stages"][0].update(features=[["only a name"]]),
        lambda found: found["stages"][1].update(digest=7),
        lambda found: found["stages"][1].update(upstream=[["encoder.residual", "float32"]]),
        lambda found: found["stages"][0].update(clock={"entity": "device"}),
    ],
)
def test_a_damaged_record_is_refused(damage) -> None:
    found = document(GOOD)
    damage(found)
    with pytest.raises(HandshakeError) as caught:
        of_document(found, "a bundle")
    assert caught.value.code == "H0"
    with pytest.raises(HandshakeError):
        of_document(None, "a bundle")
