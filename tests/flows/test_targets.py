"""What a release's targets take is asked for before anything is read or trained."""

from pathlib import Path

import pytest

import flows.main
from firnline.errors import DeliveryError
from firnline.workload import locate
from flows.targets import see_to


@pytest.fixture
def released(tmp_path):
    """An ensemble in a folder of its own, released for the targets given."""

    def made(*targets: str) -> str:
        shipped = locate("refrigeration", Path()).folder
        text = (shipped / "ensemble.toml").read_text(encoding="utf-8")
        head, _, rest = text.partition("[release]\n")
        lines = [line for line in rest.splitlines() if not line.startswith("targets")]
        folder = tmp_path / "refrigeration"
        folder.mkdir()
        told = "\n".join(["[release]", f"targets = {list(targets)}", *lines])
        (folder / "ensemble.toml").write_text(head + told, encoding="utf-8")
        return str(folder)

    return made


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("npu-ethos-u55-128", r"E61.*npu tools: not installed.*edge\.toolchains install npu"),
        ("mcu-z80", r"E80.*no target 'mcu-z80'"),
    ],
)
def test_a_run_refuses_before_it_reads(released, monkeypatch, tmp_path, target, told):
    monkeypatch.setenv("FIRNLINE_TOOLCHAINS", str(tmp_path))
    with pytest.raises(DeliveryError, match=told):
        flows.main.run.fn(released("cpu-x86_64", target), str(tmp_path / "no readings at all"))


def test_targets_asked_for_come_before_those_of_the_release(released):
    workload = locate(released("mcu-z80"), Path())
    assert see_to(workload, ["cpu-x86_64"]) == ["cpu-x86_64"]
