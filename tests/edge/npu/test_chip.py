import pytest

from edge.npu.chip import unfit_on
from edge.npu.split import split
from tests.edge.npu.programs import Build


def build(size, kernel, **how):
    made = Build("limits", 1)
    return made.program(made.conv(made.input(size), 4, kernel, **how))


@pytest.mark.parametrize(
    ("program", "why"),
    [
        (build((3, 40, 4), (1, 3), stride=(1, 4)), "stride 4"),
        (build((70, 2, 2), (65, 1)), "kernel of 65 x 1"),
        (build((70, 2, 2), (9, 1), dilation=(8, 1)), "kernel of 65 x 1"),
        (build((80, 80, 1), (64, 65)), "kernel of 64 x 65"),
    ],
)
def test_limits_of_the_small_ones(program, why):
    step = program.operations[0]
    for accelerator in ("ethos-u55-128", "ethos-u65-256"):
        assert why in unfit_on(accelerator)(program, step)
    assert unfit_on("ethos-u85-256")(program, step) is None


def test_a_pool_beyond_the_chip_goes_to_the_processor():
    made = Build("pool", 1)
    x = made.conv(made.input((1, 40, 4)), 4, (1, 3))
    program = made.program(made.max_pool(x, (1, 5), stride=(1, 5)))
    found = split(program, unfit_on("ethos-u55-128"))
    assert [part.place for part in found.parts] == ["npu", "cpu"]
    assert "stride 5" in next(iter(found.kept.values()))
    assert [part.place for part in split(program).parts] == ["npu"]
