"""Tools that a target takes, looked for before hours go into a model."""

import pytest

from edge.compile import compiler
from edge.mcu.tools.qemu import emulator
from edge.targets import load, names
from firnline.errors import DeliveryError

APART = {"npu": "npu", "qnn": "qnn", "rknn": "rknn"}
"""Kind -> environment that holds its tools."""


@pytest.fixture
def bare(tmp_path, monkeypatch):
    """A machine without the tools' environments, and without QEMU."""
    emulator.cache_clear()
    monkeypatch.setenv("FIRNLINE_TOOLCHAINS", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    yield
    emulator.cache_clear()


@pytest.mark.parametrize("name", names())
def test_what_is_missing_is_told_with_its_mend(bare, name):
    profile = load(name)
    ready = compiler(profile.kind).ready
    if profile.kind in APART:
        mend = rf"E61.*edge\.toolchains install {APART[profile.kind]}$"
        with pytest.raises(DeliveryError, match=mend):
            ready(profile)
    elif profile.build is not None and profile.build.core == "cortex-m55":
        with pytest.raises(DeliveryError, match=rf"E42.*target {name}.*qemu-system-arm"):
            ready(profile)
    else:
        ready(profile)
