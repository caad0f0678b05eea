"""The example's boot step on emulated cores: one manifest is accepted, every other is named."""

import hashlib
import re
import shutil
import struct
import subprocess
from dataclasses import replace

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge.mcu.emit_identity import Identity
from edge.mcu.generate import generate
from edge.mcu.project import package
from edge.mcu.project_vectors import Vectors
from edge.mcu.tools import CORES, build
from edge.mcu.tools import run as emulate
from edge.reference import run
from firnline.contracts.firmware import BYTES, SIGNED_BYTES, Firmware, key_id, render
from tests.docs.pages import DOCS, section, tables
from tests.edge.agent.c.conftest import SOURCES, WARNINGS
from tests.edge.mcu.programs import rows
from tests.edge.mcu.samples import bridges

STATUS = dict(
    re.findall(r"FIRNLINE_(\w+) = (0x[0-9A-F]{8})", (SOURCES / "firnline_verify.h").read_text())
)
NAMES = {int(value, 16): name for name, value in STATUS.items()}
PAGE = (DOCS / "device.md").read_text(encoding="utf-8")
PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
KEY = PRIVATE.public_key().public_bytes_raw()
OTHER = Ed25519PrivateKey.from_private_bytes(bytes(32))
HELD = 5
FIRMWARE = Firmware(
    ensemble="refrigeration",
    target="mcu-cortex-m4",
    release="5" * 64,
    counter=HELD + 1,
    artifact="a" * 64,
    identity="",
    identity_bytes=0,
    key=key_id(KEY),
)

ENTRY = """
#include "example_boot.h"

extern const uint32_t firnline_in_bytes;
extern const uint32_t firnline_out_bytes;
void firnline_entry(const void *in, void *out);

/* In: length, counter, manifest, key. Out: status, counter. */
const uint32_t firnline_in_bytes = 4u + 4u + 256u + 32u;
const uint32_t firnline_out_bytes = 8u;

void firnline_entry(const void *in, void *out)
{
    const uint32_t *const words = (const uint32_t *)in;
    const uint8_t *const bytes = (const uint8_t *)in;
    uint32_t *const found = (uint32_t *)out;
    uint8_t keys[2][32] = {{0}};
    for (uint32_t i = 0u; i < 32u; i++) {
        keys[1][i] = bytes[264u + i];
    }
    found[1] = words[1];
    found[0] = (uint32_t)example_boot(&bytes[8], words[0], (const uint8_t(*)[32])keys, 2u,
                                      &found[1]);
}
"""


def project(family):
    """A model named as the example's, with its self test, and its identity."""
    program = replace(bridges(), name="refrigeration")
    made = generate(program, family)
    inputs = rows(program, 2)
    files = package(program, made, "1.0.0", Vectors(inputs, run(program, inputs)))
    sources = {name: text for name, text in files.items() if name.endswith((".c", ".h"))}
    sources.pop("test/self_test.c")
    return sources, made.identity


def image(core, folder, change=lambda sources: sources, toolchain="zig"):
    """The example linked with a model, as a bootloader and its firmware would be."""
    sources, identity = project(CORES[core].family)
    verifier = {
        f"boot/{path.name}": path.read_text() for path in SOURCES.iterdir() if path.suffix in ".c.h"
    }
    files = {**change(sources), **verifier, "entry.c": ENTRY}
    defines = ["REFRIGERATION_IDENTITY"]
    return build(CORES[core], files, folder, toolchain, optimise="-Os", defines=defines), identity


def manifest(model, signer=PRIVATE, /, **changes):
    """A signed manifest of a model, by its identity."""
    known = {"identity": model.sha256, "identity_bytes": model.length}
    signed = render(replace(FIRMWARE, **{**known, **changes}))
    return signed + signer.sign(signed)


def signed_again(content, place, value):
    """A manifest with other bytes somewhere, signed by the right key all the same."""
    signed = bytearray(content[:SIGNED_BYTES])
    signed[place : place + len(value)] = value
    return bytes(signed) + PRIVATE.sign(bytes(signed))


def row(content, length=BYTES, key=KEY, held=HELD):
    return struct.pack("<II", length, held) + content.ljust(BYTES, b"\0")[:BYTES] + key


def booted(made, given):
    """Name of the status and the counter after it, for every row."""
    found = emulate(made, np.frombuffer(b"".join(given), np.uint8).reshape(len(given), -1))
    return [(NAMES[status], counter) for status, counter in found.outputs.view("<u4").tolist()]


@pytest.fixture(scope="module", params=["cortex-m4", "cortex-m0"])
def board(request, tmp_path_factory):
    return image(request.param, tmp_path_factory.mktemp("boot"))


def test_the_signed_manifest_is_accepted_and_its_counter_kept(board):
    made, identity = board
    good = manifest(identity)

    assert (
        booted(made, [row(good), row(good, held=HELD + 1), row(good, held=0)])
        == [("ACCEPTED", HELD + 1)] * 3
    )


def test_every_other_manifest_is_refused_by_name(board):
    made, identity = board
    good = manifest(identity)
    other = OTHER.public_key().public_bytes_raw()
    cases = {
        "rollback": (row(good, held=HELD + 2), "ROLLBACK"),
        "truncated": (row(good[:-1], length=BYTES - 1), "TRUNCATED"),
        "nothing": (row(b"", length=0), "TRUNCATED"),
        "too long": (row(good, length=BYTES + 1), "TRUNCATED"),
        "erased flash": (row(b"\xff" * BYTES), "NO_MANIFEST"),
        "format": (row(signed_again(good, 4, b"\2")), "UNKNOWN_FORMAT"),
        "flags": (row(signed_again(good, 6, b"\3")), "UNKNOWN_FORMAT"),
        "reserved": (row(signed_again(good, 191, b"\1")), "UNKNOWN_FORMAT"),
        "another key trusted": (row(good, key=other), "UNKNOWN_KEY"),
        "wrong key": (row(manifest(identity, OTHER)), "BAD_SIGNATURE"),
        "named as its own": (row(manifest(identity, OTHER, key=key_id(other))), "UNKNOWN_KEY"),
        "ensemble": (row(manifest(identity, ensemble="refrigerations")), "OTHER_MODEL"),
        "shorter": (row(manifest(identity, ensemble="refrigeratio")), "OTHER_MODEL"),
        "behind the name": (row(signed_again(good, 47, b"x")), "OTHER_MODEL"),
        "target": (row(manifest(identity, target="mcu-cortex-m7")), "OTHER_MODEL"),
        "no identity": (row(signed_again(good, 6, b"\0")), "NO_IDENTITY"),
        "identity": (row(manifest(identity, identity="1" * 64)), "CHANGED_MODEL"),
        "its length": (
            row(manifest(identity, identity_bytes=identity.length + 1)), "CHANGED_MODEL"
        ),
    }  # fmt: skip

    found = booted(made, [given for given, _ in cases.values()])

    counters = {name: HELD + 2 if name == "rollback" else HELD for name in cases}
    wanted = {name: (status, counters[name]) for name, (_, status) in cases.items()}
    assert dict(zip(cases, found, strict=True)) == wanted


def test_a_flipped_bit_anywhere_is_refused(tmp_path):
    made, identity = image("cortex-m4", tmp_path)
    good = manifest(identity)
    given = []
    for place in range(0, BYTES, 8):
        changed = bytearray(good)
        changed[place + place // 8 % 8] ^= 1 << place // 32
        given.append(row(bytes(changed)))

    found = [status for status, _ in booted(made, given)]

    assert found[0] == "NO_MANIFEST"
    assert set(found[1:22]) <= {"BAD_SIGNATURE", "UNKNOWN_FORMAT"}
    assert found[22:24] == ["UNKNOWN_KEY", "UNKNOWN_FORMAT"]
    assert set(found[24:]) == {"BAD_SIGNATURE"}


def test_one_changed_weight_is_noticed(tmp_path):
    def change(sources):
        text = sources["src/refrigeration.c"]
        found = re.search(r"(static const int\d+_t layer\d+_\w+\[\d+\] \w+ = \{\n\s+)(-?\d+)", text)
        other = f"{found[1]}{int(found[2]) ^ 1}"
        return {**sources, "src/refrigeration.c": text.replace(found[0], other)}

    made, identity = image("cortex-m4", tmp_path, change)

    assert booted(made, [row(manifest(identity))]) == [("CHANGED_MODEL", HELD)]


def test_what_does_not_compute_as_proved_does_not_raise_the_counter(tmp_path):
    def change(sources):
        name = "test/refrigeration_test_vectors.c"
        first = r"(vectors_out_\w+\[\d+\] \w+ = \{\n\s+)(-?\d)"
        text = re.sub(first, r"\g<1>1\2", sources[name], count=1)
        return {**sources, name: text}

    made, identity = image("cortex-m4", tmp_path, change)

    assert booted(made, [row(manifest(identity))]) == [("SELF_TEST_DIFFERS", HELD)]


def test_no_two_statuses_are_close():
    values = [*NAMES, 0, 2**32 - 1]
    distances = {(left ^ right).bit_count() for left in values for right in values if left != right}

    assert min(distances) >= 13


SEVERAL = """
#include "firnline_verify.h"

extern const uint32_t firnline_in_bytes;
extern const uint32_t firnline_out_bytes;
void firnline_entry(const void *in, void *out);

/* In: how many must sign, length, manifests, keys. Out: status. */
const uint32_t firnline_in_bytes = 4u + 4u + 3u * 256u + 3u * 32u;
const uint32_t firnline_out_bytes = 4u;

void firnline_entry(const void *in, void *out)
{
    const uint32_t *const words = (const uint32_t *)in;
    const uint8_t *const bytes = (const uint8_t *)in;
    const firnline_trust trust = {(const uint8_t(*)[32])&bytes[776], 3u, "refrigeration",
                                  "mcu-cortex-m4", 5u};
    *(uint32_t *)out =
        (uint32_t)firnline_manifests_verify(&bytes[8], words[1], &trust, words[0]);
}
"""


def test_no_one_key_is_enough_where_two_must_sign(tmp_path):
    verifier = {path.name: path.read_text() for path in SOURCES.glob("firnline_*")}
    made = build(CORES["cortex-m4"], {**verifier, "entry.c": SEVERAL}, tmp_path, optimise="-Os")
    model = Identity("1" * 64, 1)
    owners = [PRIVATE, *(Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in (7, 8))]
    trusted = [owner.public_key().public_bytes_raw() for owner in owners]

    def by(owner, **changes):
        return manifest(model, owner, key=key_id(owner.public_key().public_bytes_raw()), **changes)

    ada, ben, cleo = map(by, owners)
    flipped = bytearray(ben)
    flipped[200] ^= 1
    unsigned = ben[:176] + cleo[176:192] + ben[192:]
    cases = {
        "two": (2, ada + ben, "ACCEPTED"),
        "another two": (2, cleo + ada, "ACCEPTED"),
        "three": (3, cleo + ada + ben, "ACCEPTED"),
        "one is asked for": (1, ada, "ACCEPTED"),
        "nobody is asked for": (0, b"", "BELOW_THRESHOLD"),
        "one alone": (2, ada, "TRUNCATED"),
        "one key twice": (2, ada + ada, "BELOW_THRESHOLD"),
        "one key again": (3, ada + ben + ada, "BELOW_THRESHOLD"),
        "another release": (2, ada + by(owners[1], release="6" * 64), "BELOW_THRESHOLD"),
        "another counter": (2, ada + by(owners[1], counter=HELD + 2), "BELOW_THRESHOLD"),
        "an older one": (2, ada + by(owners[1], counter=HELD - 1), "ROLLBACK"),
        "a stranger": (2, ada + by(OTHER), "UNKNOWN_KEY"),
        "a flipped bit": (2, ada + bytes(flipped), "BAD_SIGNATURE"),
        "under another's name": (2, ada + unsigned, "BAD_SIGNATURE"),
        "more than asked for": (2, ada + ben + cleo, "TRUNCATED"),
        "a part of one": (2, (ada + ben)[:-1], "TRUNCATED"),
    }
    given = [
        struct.pack("<II", needed, len(content))
        + content.ljust(3 * BYTES, b"\0")
        + b"".join(trusted)
        for needed, content, _ in cases.values()
    ]

    found = emulate(made, np.frombuffer(b"".join(given), np.uint8).reshape(len(given), -1))

    told = [NAMES[int(status)] for status in found.outputs.view("<u4")[:, 0]]
    assert dict(zip(cases, told, strict=True)) == {name: case[2] for name, case in cases.items()}


FIGURES = """
#include "firnline_verify.h"

extern const uint32_t firnline_in_bytes;
extern const uint32_t firnline_out_bytes;
void firnline_entry(const void *in, void *out);

/* In: whether the manifest is asked for, the counter, manifest, key. Out: status. */
const uint32_t firnline_in_bytes = 4u + 4u + 256u + 32u;
const uint32_t firnline_out_bytes = 4u;

static const uint8_t table[16384] = {1u};

static void identity(void (*update)(void *, const void *, size_t), void *context)
{
    update(context, table, sizeof table);
}

void firnline_entry(const void *in, void *out)
{
    const uint8_t *const bytes = (const uint8_t *)in;
    const firnline_trust trust = {(const uint8_t(*)[32])&bytes[264], 1u, "refrigeration",
                                  "mcu-cortex-m4", 0u};
    *(uint32_t *)out = (uint32_t)((*(const uint32_t *)in != 0u)
                                      ? firnline_manifest_verify(&bytes[8], 256u, &trust)
                                      : firnline_model_verify(&bytes[8], identity));
}
"""
TABLE = b"\1" + bytes(16383)


@pytest.mark.parametrize("options", ["-O2", "-Os"])
@pytest.mark.parametrize("core", ["cortex-m4", "cortex-m0"])
def test_the_page_tells_what_it_takes(core, options, tmp_path):
    verifier = {path.name: path.read_text() for path in SOURCES.glob("firnline_*")}
    made = build(CORES[core], {**verifier, "entry.c": FIGURES}, tmp_path, optimise=options)
    good = manifest(Identity(hashlib.sha256(TABLE).hexdigest(), len(TABLE)))
    given = np.frombuffer(row(good, length=1) + row(good, length=0), np.uint8).reshape(2, -1)

    found = emulate(made, given)

    (told,) = [
        cells
        for table in tables(section(PAGE, "The bootloader"))
        for cells in table
        if cells[:2] == [f"`{core}`", f"`{options}`"]
    ]
    manifests, constants = found.instructions
    flash = made.flash_bytes - len(TABLE)
    measured = (flash, found.stack_bytes, manifests, round(constants * 1024 / len(TABLE)))
    assert [NAMES[int(status)] for status in found.outputs.view("<u4")[:, 0]] == ["ACCEPTED"] * 2
    assert told[2:] == [f"{value:,}" for value in measured]
    assert flash < 12 * 1024
    assert made.ram_bytes == 0


@pytest.mark.skipif(shutil.which("arm-none-eabi-gcc") is None, reason="needs Arm's GCC")
@pytest.mark.parametrize("source", sorted(path.name for path in SOURCES.glob("firnline_*.c")))
def test_arm_s_gcc_has_no_word_against_it(source, tmp_path):
    flags = ("-std=c99", "-ffreestanding", "-O2", "-mthumb", "-mcpu=cortex-m0", *WARNINGS)
    command = ["arm-none-eabi-gcc", *flags, "-c", str(SOURCES / source), "-o", str(tmp_path / "o")]

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


def test_the_page_names_what_comes_with_the_pull_and_what_may_come_of_it():
    text = section(PAGE, "The bootloader")
    named = set(re.findall(r"`verifier/(\w+\.[ch])`", text))
    header = (SOURCES / "firnline_verify.h").read_text()

    assert named <= {path.name for path in SOURCES.iterdir()}
    for name in re.findall(r"FIRNLINE_[A-Z_]+|firnline_\w+(?=`|\()", text):
        assert name in header or name.endswith(("_verify", "_IDENTITY"))
