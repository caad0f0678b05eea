import pytest

from edge.npu.models import write
from edge.npu.vela import compile_model
from edge.npu.verdict import verdict
from firnline.contracts.target import Npu
from firnline.errors import DeliveryError
from tests.edge.npu.programs import Build, series

U55 = Npu(
    accelerator="ethos-u55-128",
    system_config="Ethos_U55_High_End_Embedded",
    memory_mode="Sram_Only",
)
U85 = Npu(
    accelerator="ethos-u85-256", system_config="Ethos_U85_SYS_Flash_High", memory_mode="Sram_Only"
)


def test_the_autoencoder_takes_velas_known_cycles_on_both_paths(known):
    program, *files = known
    for model in files:
        found = compile_model(model, U55)
        assert found.npu_cycles == 40_929
        # Random weights do not compress: the last layer waits 1 % longer for them.
        assert found.npu_cycles <= found.cycles <= 1.02 * found.npu_cycles
        assert found.sram_bytes == 768
        assert found.npu_share == 1.0
        assert found.cpu_operators == ()
        assert [layer.name for layer in found.layers] == [s.name for s in program.operations]
        assert sum(layer.macs for layer in found.layers) == program.macs == 264_192
    judged = verdict(program, found, instructions=48_000)
    assert judged.gains is False
    assert judged.weight_bound == 1.0
    assert "gains nothing" in judged.text
    assert compile_model(model, U85).cycles == 22_200


def test_convolutions_gain(tools):
    program = series()
    found = compile_model(write(program, "tflite"), U55)
    judged = verdict(program, found, instructions=60_000)
    assert judged.gains is True
    assert judged.weight_bound < 0.01
    assert verdict(program, found).gains is None


@pytest.mark.parametrize(
    ("field", "given"),
    [
        ("system_config", "internal-default"),
        ("memory_mode", "internal-default"),
        ("system_config", U85.system_config),
    ],
)
def test_configurations_must_be_named_and_of_the_chip(known, field, given):
    *_, model = known
    with pytest.raises(DeliveryError, match=rf"E64.*{field} = '{given}'.*name one of"):
        compile_model(model, U55.model_copy(update={field: given}))


def test_vela_names_what_stays_on_the_processor(tools):
    build = Build("far", 2)
    tall = build.conv(build.input((3, 40, 4)), 8, (1, 3), stride=(1, 5), dilation=(1, 2))
    program = build.program(build.conv(tall, 4, (1, 1)))
    found = compile_model(write(program, "tflite"), U55)
    assert found.npu_share < 1
    assert found.cpu_operators == ("CONV_2D v1",)
    with pytest.raises(DeliveryError, match="E65"):
        compile_model(write(program, "tosa"), U55)
