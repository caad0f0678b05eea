"""Reading .npy files that come from outside: no pickle, no evaluation, and no header believed.

Format: NumPy Enhancement Proposal 1, version 1.0, as `numpy.save` writes plain arrays.
"""

import math
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firnline.errors import DeliveryError

_MAGIC = b"\x93NUMPY\x01\x00"
_HEADER = re.compile(
    rb"\{'descr': '(<f4|<f8|<i4|<i8|\|i1|\|u1|\|b1)', 'fortran_order': False, "
    rb"'shape': \(((?:[0-9]{1,9}, ?)*(?:[0-9]{1,9})?)\), \} *\n"
)


def array(content: bytes, where: str) -> NDArray[Any]:
    """The array that a .npy file holds.

    Args:
        content: The file's bytes.
        where: What they were read from, for the error.

    Raises:
        DeliveryError: U13, it is no such file, or its header tells of more or less than follows.
    """
    size = int.from_bytes(content[8:10], "little")
    header = _HEADER.fullmatch(content[10 : 10 + size])
    if not content.startswith(_MAGIC) or header is None:
        raise _lies("a file that is no plain array in .npy format 1.0", where)
    kind = np.dtype(header[1].decode())
    shape = tuple(int(length) for length in header[2].split(b",") if length.strip())
    told, there = math.prod(shape) * kind.itemsize, len(content) - 10 - size
    if told != there:
        raise _lies(f"a .npy header that lies: it tells of {told:,} bytes, {there:,} follow", where)
    try:
        return np.frombuffer(content, kind, offset=10 + size).reshape(shape)
    except ValueError as error:  # More dimensions than there can be, or none of them bounded.
        raise _lies(f"a shape that no array has: {str(error)[:80]}", where) from error


def _lies(found: str, where: str) -> DeliveryError:
    return DeliveryError(
        "U13",
        found=f"too large or a bomb: {found}",
        where=where,
        mend="publish the release again; the device keeps what it runs",
    )
