from edge.licences import of, patterns


def test_kernels_keep_their_licence_in_whoevers_model() -> None:
    found = patterns("MIT OR LicenseRef-ours")
    kernels = ("LICENSE", "targets/mcu-cortex-m4/LICENSE", "targets/npu/x/src/firnline_base.h")
    assert {of(name, found) for name in kernels} == {"Apache-2.0"}
    own = ("int8.onnx", "stages/encoder.onnx", "targets/mcu-cortex-m4/src/refrigeration.c")
    assert {of(name, found) for name in own} == {"MIT OR LicenseRef-ours"}


def test_what_nobody_states_is_not_asserted() -> None:
    assert of("int8.onnx", patterns(None)) == "NOASSERTION" == of("x", {"y": "MIT"})
