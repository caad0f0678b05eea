"""Random float graphs through the whole export: exact on a core, or refused by name."""

import itertools
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from hypothesis import HealthCheck, Phase, given, seed, settings

from edge.compile.mcu import rows_of
from edge.mcu.tools import CORES
from firnline.errors import FirnlineError
from tests.edge.random_images import HOST, computed, differing
from tests.edge.random_nets import cases
from tests.edge.random_onnx import made

TARGETS = (*("cortex-m4", "cortex-m3", "cortex-m0", "cortex-m55", "rv32imc", HOST),
           *("cortex-m7", "cortex-m33"))  # fmt: skip
_TOGETHER = 25
"""Graphs in one image."""


def drawn(count):
    """As many different graphs, the same ones every time."""
    found = {}

    @seed(0)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(cases())
    def collect(case):
        found.setdefault(case.model, case)

    collect()
    return list(found.values())


@dataclass(frozen=True)
class Found:
    """What came of many graphs.

    Attributes:
        refused: Graphs with an unsupported operator, refused by its name and its node's.
        exact: Graphs whose every byte is right.
        target: The cores, each graph on one of them.
        toolchain: Compilers.
        runner: Emulators.
        vectors: Rows that went through, of all graphs.
        bytes_differ: Bytes of C's results that are not the reference's.
        failures: What went wrong, with the graph; empty when nothing did.
    """

    refused: int
    exact: int
    target: str
    toolchain: str
    runner: str
    vectors: int
    bytes_differ: int
    failures: list


def check_many(count, together=_TOGETHER, targets=None):
    """Many graphs, as many to an image, the images' cores in turn.

    Args:
        count: How many; the same ones every time.
        together: How many to an image.
        targets: Names of cores, and `HOST`; all there are, less the M55 where QEMU is not there.
    """
    if targets is None:
        there = shutil.which(CORES["cortex-m55"].qemu) is not None
        targets = [name for name in TARGETS if there or name != "cortex-m55"]
    graphs = drawn(count)
    parts = [graphs[begin : begin + together] for begin in range(0, len(graphs), together)]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(_checked, parts, itertools.cycle(targets)))
    used = targets[: len(parts)]
    return Found(
        refused=sum(one.refused for one in found),
        exact=sum(one.exact for one in found),
        target=", ".join(name if name == HOST else f"mcu-{name}" for name in used),
        toolchain=", ".join(dict.fromkeys(one.toolchain for one in found if one.toolchain)),
        runner=", ".join(dict.fromkeys(one.runner for one in found if one.runner)),
        vectors=sum(one.vectors for one in found),
        bytes_differ=sum(one.bytes_differ for one in found),
        failures=[failure for one in found for failure in one.failures],
    )


def _checked(graphs, target):
    """Graphs on one core."""
    refused, failures, through = 0, [], []
    for place, case in enumerate(graphs):
        try:
            one = made(case, f"graph{place}")
        except FirnlineError as error:
            told = f"{error.found} {error.where}" if error.code in ("E10", "E20") else ""
            allowed = [pair for pair in case.refusable if all(name in told for name in pair)]
            refused += bool(allowed)
            failures += [] if allowed else [f"refused: {error}\n{case}"]
            continue
        except Exception as error:
            failures.append(f"{type(error).__name__}: {error}\n{case}")
            continue
        failures += [f"{problem}\n{case}" for problem in one.problems]
        if case.unsupported:
            failures.append(f"not refused: {case.unsupported}\n{case}")
        through.append((case, one))
    if not through:
        return Found(refused, 0, target, "", "", 0, 0, failures)
    programs = [one.program for _, one in through]
    rows = [rows_of(one.program, one.inputs) for _, one in through]
    outputs, toolchain, runner = computed(programs, rows, target)
    differ = [differing(one, raw) for (_, one), raw in zip(through, outputs, strict=True)]
    failures += [
        f"{target}: {count} bytes differ from the reference\n{case}"
        for (case, _), count in zip(through, differ, strict=True)
        if count
    ]
    exact = sum(not one.problems and not n for (_, one), n in zip(through, differ, strict=True))
    vectors = sum(map(len, rows))
    return Found(refused, exact, target, toolchain, runner, vectors, sum(differ), failures)
