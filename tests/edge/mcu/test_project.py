"""The delivered folder: it builds, and its self test tells right from wrong."""

import subprocess

import numpy as np
import pytest
import yaml

from edge.mcu.generate import generate
from edge.mcu.project import package, write
from edge.mcu.project_vectors import Vectors
from edge.reference import run
from firnline.errors import DeliveryError, HandshakeError
from tests.edge.mcu.conftest import FLAGS, compiler
from tests.edge.mcu.programs import rows
from tests.edge.mcu.samples import bridges, series


def vectors(program, count=3):
    inputs = rows(program, count)
    return Vectors(inputs, run(program, inputs))


@pytest.fixture(scope="module")
def delivered():
    program = bridges()
    return package(program, generate(program, "portable"), "1.2.3", vectors(program))


def self_test(files, folder):
    """Build what CMake's file names, as C99, and run it: the exit code."""
    write(files, folder)
    sources = sorted((folder / "src").glob("*.c")) + sorted((folder / "test").glob("*.c"))
    searched = (f"-I{folder / 'src'}", f"-I{folder / 'test'}")
    compiler(*FLAGS, "-pedantic", *searched, "-o", folder / "self_test", *sources)
    return subprocess.run([folder / "self_test"], check=False).returncode


def test_the_self_test_passes(delivered, tmp_path):
    assert self_test(delivered, tmp_path / "bridges") == 0


def test_the_self_test_sees_one_wrong_element(tmp_path):
    program = bridges()
    right = vectors(program)
    wrong = {name: value.copy() for name, value in right.outputs.items()}
    wrong["int"][-1, -1] ^= 1
    broken = Vectors(right.inputs, wrong)
    files = package(program, generate(program, "portable"), "1.2.3", broken)

    assert self_test(files, tmp_path / "bridges") == 1


def test_the_example_and_the_header_are_cpp(delivered, tmp_path):
    write(delivered, tmp_path / "bridges")
    sketch = tmp_path / "sketch.cpp"
    sketch.write_text(
        "struct Port { void begin(long); template <class T> void println(T); };\n"
        "extern Port Serial;\n"
        "void delay(int);\n" + delivered["examples/bridges_once/bridges_once.ino"]
    )
    strict = ("-std=c++11", "-Wall", "-Wextra", "-Werror", "-pedantic", "-nostdinc++")
    target = ("-target", "thumb-freestanding-eabi", "-mcpu=cortex_m4", "-c", "-o", tmp_path / "o")
    compiler(*strict, *target, f"-I{tmp_path / 'bridges/src'}", sketch)


def test_build_files_name_what_is_there(delivered):
    module = yaml.safe_load(delivered["zephyr/module.yml"])
    properties = dict(line.split("=", 1) for line in delivered["library.properties"].splitlines())

    assert module["build"] == {"cmake": "zephyr", "kconfig": "zephyr/Kconfig"}
    assert "add_library(bridges STATIC src/bridges.c)" in delivered["CMakeLists.txt"]
    assert "src/bridges.c" in delivered
    assert properties["version"] == "1.2.3"
    assert f"src/{properties['includes']}" in delivered
    assert "entry.c" not in "".join(delivered)
    assert "`bridges_self_test(&context)` must return 0" in delivered["README.md"]


def test_without_vectors_there_is_no_test():
    program = series()
    files = package(program, generate(program, "portable"), "0.1.0")

    assert not [name for name in files if name.startswith("test/")]
    assert "self_test" not in files["CMakeLists.txt"] + files["README.md"]
    assert "| layer4 | `/node4/Dense` | Dense | 180 |" in files["README.md"]


@pytest.mark.parametrize("kind", ["missing", "shape", "rows"])
def test_vectors_that_do_not_fit(kind):
    program = series()
    good = vectors(program)
    outputs = {
        "missing": {},
        "shape": {"scores": np.zeros((3, 4), np.int8)},
        "rows": {"scores": np.zeros((2, 3), np.int8)},
    }[kind]
    with pytest.raises(HandshakeError) as caught:
        package(program, generate(program, "portable"), "0.1.0", Vectors(good.inputs, outputs))
    assert caught.value.code == "E35"


def test_a_version_arduino_does_not_take():
    program = series()
    with pytest.raises(HandshakeError) as caught:
        package(program, generate(program, "portable"), "v3")
    assert caught.value.code == "E36"


def test_all_of_a_project_is_written_or_nothing(tmp_path):
    with pytest.raises(TypeError):
        write({"a": "text", "b": None}, tmp_path / "part")
    assert not list(tmp_path.iterdir())


def test_an_alignment_of_the_user_s_own_is_taken(delivered, tmp_path):
    write(delivered, tmp_path / "bridges")
    source = tmp_path / "own.c"
    source.write_text(
        "#undef __GNUC__\n#undef __clang__\n#define BRIDGES_ALIGNED _Alignas(16)\n"
        '#include "bridges.h"\nint of(void) { return (int)_Alignof(bridges_context); }\n'
    )
    compiler("-ffreestanding", "-c", "-o", tmp_path / "o", f"-I{tmp_path / 'bridges/src'}", source)


def test_nothing_is_overwritten(delivered, tmp_path):
    (tmp_path / "bridges").mkdir()
    with pytest.raises(DeliveryError) as caught:
        write(delivered, tmp_path / "bridges")
    assert caught.value.code == "E38"
    assert [path.name for path in tmp_path.iterdir()] == ["bridges"]
