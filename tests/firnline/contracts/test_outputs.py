"""Another model, another version: what a stage gives has the identity of what computes it."""

from dataclasses import replace

import pytest

from firnline.contracts.lock import Lock, add, parse, render
from firnline.contracts.outputs import StageOutputs
from firnline.contracts.stages import stage_digest
from firnline.errors import HandshakeError

OUTPUTS = StageOutputs(
    ensemble="fleet",
    stage="encoder",
    version=2,
    entity="device",
    key="device_id",
    fields=("residual_0", "residual_1", "error"),
    ttl_seconds=900,
    model="a" * 64,
    reads={"device_window@v1": "b" * 64},
)
MADE_OF = {
    "name": "encoder",
    "recipe": "models.fleet:Encoder",
    "options": {"components": 3},
    "onnx": "c" * 64,
    "features": {"device_window@v1": "b" * 64},
    "upstream": {},
    "training_set": "d" * 64,
}


def test_names() -> None:
    assert OUTPUTS.reference == "fleet_encoder@v2"
    assert OUTPUTS.table == "fleet_encoder_v2"
    assert OUTPUTS.path == "firnline://fleet_encoder_v2"
    assert OUTPUTS.label == f"fleet_encoder@v2#{OUTPUTS.digest()[:6]}"


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "e" * 64},
        {"reads": {"device_window@v1": "f" * 64}},
        {"fields": ("residual_1", "residual_0", "error")},
        {"ttl_seconds": 901},
        {"version": 3},
        {"key": "rig_id"},
    ],
)
def test_whatever_it_is_made_of_is_its_identity(changes) -> None:
    assert replace(OUTPUTS, **changes).digest() != OUTPUTS.digest()
    assert replace(OUTPUTS).digest() == OUTPUTS.digest()


def test_a_version_has_one_model_for_ever() -> None:
    lock = add(Lock(()), [OUTPUTS])
    assert parse(render(lock), "outputs.lock") == lock == add(lock, [OUTPUTS])
    with pytest.raises(HandshakeError) as caught:
        add(lock, [replace(OUTPUTS, model="e" * 64)])
    assert caught.value.code == "L1"
    assert "fleet_encoder@v3" in caught.value.mend


@pytest.mark.parametrize("part", MADE_OF)
def test_a_stage_is_all_that_made_it(part: str) -> None:
    other = {"x": "y"} if isinstance(MADE_OF[part], dict) else "other"
    assert stage_digest(**{**MADE_OF, part: other}) != stage_digest(**MADE_OF)
