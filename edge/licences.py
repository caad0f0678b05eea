"""Under which licence each file of a bundle is: the model's own, or firnline's kernels'."""

from collections.abc import Mapping
from fnmatch import fnmatchcase

from firnline.contracts.spdx import UNSTATED

OURS = "Apache-2.0"
"""Of firnline's kernels, which a generated project carries along with its LICENSE."""


def patterns(own: str | None) -> dict[str, str]:
    """Place in a bundle, as a pattern -> SPDX expression; the longest that matches holds.

    Args:
        own: The ensemble's licence, as its manifest states it; None where it states none.
    """
    return {"*": own or UNSTATED, "LICENSE": OURS, "*/LICENSE": OURS, "*/firnline_*": OURS}


def of(name: str, found: Mapping[str, str]) -> str:
    """The SPDX expression of a file, `NOASSERTION` where no pattern matches.

    Args:
        name: The file's place in the bundle.
        found: A bundle's `licences`.

    >>> of("targets/mcu-cortex-m4/src/firnline_base.h", patterns("MIT"))
    'Apache-2.0'
    >>> of("int8.onnx", patterns("MIT"))
    'MIT'
    """
    matching = [pattern for pattern in found if fnmatchcase(name, pattern)]
    return found[max(matching, key=len)] if matching else UNSTATED
