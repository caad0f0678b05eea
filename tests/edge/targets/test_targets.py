"""Target profiles by name, by path, and a project's own."""

import pytest

from edge.compile import compiler
from edge.targets import load, names
from firnline.errors import DeliveryError

OWN = """
name = "mcu-cortex-m4"
kind = "mcu"
about = "the project's own board"

[build]
core = "cortex-m4"
toolchain = "gcc"

[memory]
flash_kib = 256
ram_kib = 32
"""


@pytest.fixture
def project(tmp_path):
    (tmp_path / "targets").mkdir()
    (tmp_path / "targets" / "mcu-cortex-m4.toml").write_text(OWN)
    board = OWN.replace("mcu-cortex-m4", "pump-board")
    (tmp_path / "targets" / "pump-board.toml").write_text(board)
    return tmp_path


@pytest.mark.parametrize("name", names())
def test_what_ships_is_whole(name):
    profile = load(name)
    kind = compiler(profile.kind)
    assert profile.name == name and profile.about
    assert callable(kind.compile) and callable(kind.run) and isinstance(kind.EXACT, bool)
    assert profile.kind != "mcu" or profile.name == f"mcu-{profile.build.core}"


def test_every_core_has_a_target():
    cores = ("m0", "m3", "m4", "m7", "m33", "m55")
    assert {f"mcu-cortex-{core}" for core in cores} | {"mcu-rv32imc"} <= set(names())


def test_a_projects_own_profile_comes_first(project):
    assert load("mcu-cortex-m4").memory.flash_kib == 2048
    assert load("mcu-cortex-m4", project).memory.flash_kib == 256
    assert "pump-board" in names(project) and "pump-board" not in names()
    assert load("pump-board", project).build.toolchain == "gcc"
    assert load("mcu-cortex-m0", project) == load("mcu-cortex-m0")


def test_a_profile_is_found_by_its_path(project):
    path = str(project / "targets" / "pump-board.toml")
    assert load(path).name == "pump-board"


def test_a_profile_under_another_name_is_refused(project):
    (project / "targets" / "board.toml").write_text(OWN)
    with pytest.raises(DeliveryError, match=r"E81.*calls itself 'mcu-cortex-m4'"):
        load("board", project)


def test_a_profile_that_is_no_text_is_refused(project):
    (project / "targets" / "board.toml").write_bytes(OWN.encode("utf-16"))
    with pytest.raises(DeliveryError, match=r"E81.*board\.toml: not readable as UTF-8"):
        load("board", project)


@pytest.mark.parametrize("name", ["mcu-z80", "nowhere.toml", "../mcu-cortex-m4", "", "targets/x"])
def test_an_unknown_target_is_refused_with_those_that_are_known(project, name):
    with pytest.raises(DeliveryError, match=r"E80.*known here: .*mcu-cortex-m4.*pump-board"):
        load(name, project)
