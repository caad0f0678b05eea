"""The build files around generated C: CMake, an Arduino library, a Zephyr module."""

import re

from edge.mcu.emit_header import Port, call
from edge.mcu.emit_text import words
from firnline.errors import HandshakeError

_VERSION = re.compile(r"\d+\.\d+\.\d+([-+][0-9A-Za-z.+-]+)?")


def cmake(name: str, tested: bool) -> str:
    """A static library, and with vectors a test that runs on the machine that builds it."""
    test = f"""
option({name.upper()}_SELF_TEST "Build the self test for the machine that runs CMake" OFF)
if({name.upper()}_SELF_TEST)
  enable_testing()
  add_executable({name}_self_test test/self_test.c test/{name}_test_vectors.c)
  target_link_libraries({name}_self_test PRIVATE {name})
  set_target_properties({name}_self_test PROPERTIES C_STANDARD 99)
  add_test(NAME {name}_self_test COMMAND {name}_self_test)
endif()
"""
    return f"""\
cmake_minimum_required(VERSION 3.13)
project({name} LANGUAGES C)

add_library({name} STATIC src/{name}.c)
target_include_directories({name} PUBLIC src)
set_target_properties({name} PROPERTIES C_STANDARD 99)
option({name.upper()}_IDENTITY "Let a bootloader check the model's constants" OFF)
if({name.upper()}_IDENTITY)
  target_compile_definitions({name} PUBLIC {name.upper()}_IDENTITY)
endif()
# Products and sums are never fused: the results are defined to the bit.
if(CMAKE_C_COMPILER_ID MATCHES "GNU|Clang")
  target_compile_options({name} PRIVATE
    -ffp-contract=off -fno-tree-vectorize -fno-tree-slp-vectorize)
endif()
{test if tested else ""}"""


def arduino(name: str, version: str, macs: int) -> str:
    """library.properties.

    Args:
        name: Of the model.
        version: Three numbers, as Arduino's library manager wants.
        macs: Multiply-accumulates of an inference.

    Raises:
        HandshakeError: [E36] another form of version.
    """
    if not _VERSION.fullmatch(version):
        raise HandshakeError(
            "E36",
            found=f"`{version}`",
            where="version of the Arduino library",
            mend="give three numbers, such as 1.4.0",
        )
    return f"""\
name={name}
version={version}
author=firnline
maintainer=firnline
sentence=The model {name} as C99, without allocation and without other libraries.
paragraph={macs} multiply-accumulates an inference, results defined to the bit.
category=Data Processing
url=
architectures=*
includes={name}.h
"""


def sketch(name: str, inputs: tuple[Port, ...], outputs: tuple[Port, ...]) -> str:
    """An Arduino example: one inference, and the first element of every output printed."""
    upper = name.upper()
    buffers = "".join(
        f"static {upper}_BUFFER({port.c_type}, {port.parameter}, "
        f"{upper}_{port.name.upper()}_LENGTH);\n"
        for port in (*inputs, *outputs)
    )
    arguments = ["&context", *(port.parameter for port in (*inputs, *outputs))]
    printed = "".join(f"  Serial.println({port.parameter}[0]);\n" for port in outputs)
    return f"""\
#include <{name}.h>

static {name}_context context;
{buffers}
void setup() {{
  Serial.begin(115200);
}}

void loop() {{
  // Fill {words(", ".join(port.parameter for port in inputs))} with a reading here.
{call(f"{name}_run", arguments, "  ")};
{printed}  delay(1000);
}}
"""


def zephyr(name: str) -> dict[str, str]:
    """module.yml, CMakeLists.txt and Kconfig."""
    upper = name.upper()
    module = f"""\
name: {name}
build:
  cmake: zephyr
  kconfig: zephyr/Kconfig
"""
    build = f"""\
if(CONFIG_FIRNLINE_{upper})
  zephyr_include_directories(../src)
  zephyr_library_named({name})
  zephyr_library_sources(../src/{name}.c)
  zephyr_library_compile_options(
    -ffp-contract=off -fno-tree-vectorize -fno-tree-slp-vectorize)
  if(CONFIG_FIRNLINE_{upper}_IDENTITY)
    zephyr_compile_definitions({upper}_IDENTITY)
  endif()
endif()
"""
    kconfig = f"""\
config FIRNLINE_{upper}
\tbool "The model {name}"
\thelp
\t  A model as C99, without allocation and without other libraries.

config FIRNLINE_{upper}_IDENTITY
\tbool "Let a bootloader check its constants"
\tdepends on FIRNLINE_{upper}
"""
    files = {"module.yml": module, "CMakeLists.txt": build, "Kconfig": kconfig}
    return {f"zephyr/{path}": text for path, text in files.items()}
