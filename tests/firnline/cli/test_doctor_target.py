"""What `firnline doctor --target` looks at, on this machine as it is."""

import json
import platform

import pytest

from firnline.cli.doctor import examine
from firnline.cli.doctor_target import of_target
from firnline.errors import DeliveryError


def test_a_core_is_built_for_and_run():
    found = {finding.name: finding for finding in of_target("mcu-cortex-m3")}

    assert all(finding.good for finding in found.values())
    assert found["compiler"].found.startswith("zig ")
    assert found["emulator"].found.startswith("unicorn ")
    assert "built and run" in found["C on cortex-m3"].found


def test_what_is_missing_is_told_with_its_mend(monkeypatch, tmp_path, capsys):
    from edge.mcu.tools.qemu import emulator

    emulator.cache_clear()
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("FIRNLINE_TOOLCHAINS", str(tmp_path))

    with pytest.raises(SystemExit, match="1"):
        examine("npu-ethos-u55-128", as_json=True)

    found = {one["name"]: one for one in json.loads(capsys.readouterr().out)["findings"]}
    assert found["emulator"]["mend"] == "apt-get install qemu-system-arm"
    assert "edge.toolchains install npu" in found["npu tools"]["mend"]
    assert found["compiler"]["good"]


def test_a_processor_of_another_kind_cannot_prove():
    here = platform.machine()
    other = "cpu-arm64" if here == "x86_64" else "cpu-x86_64"

    (finding,) = [one for one in of_target(other) if one.name == "processor"]

    assert not finding.good
    assert here in finding.found


def test_an_unknown_target_is_refused():
    with pytest.raises(DeliveryError, match=r"E80.*mcu-cortex-m4"):
        of_target("mcu-z80")
