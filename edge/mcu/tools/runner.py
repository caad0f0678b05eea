"""An image run by whichever emulator models its core."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edge.mcu.tools.image import Image, Run
from edge.mcu.tools.qemu import run_qemu
from firnline.errors import DeliveryError

Runner = Literal["unicorn", "qemu"]


def run(
    image: Image, rows: NDArray[np.uint8], runner: Runner | None = None, *, checked: int = 1
) -> Run:
    """Give every row to `firnline_entry`, and count the instructions of every call.

    Args:
        image: What to run.
        rows: uint8 [rows, in_bytes]: the input's bytes.
        runner: `unicorn`, in this process, or `qemu`, which models every core. By default unicorn
            where it models the core.
        checked: Rows, from the first, in which unicorn checks every access to memory: aligned as
            silicon needs it, and to the model's own RAM. QEMU checks alignment in every row.

    Raises:
        DeliveryError: E41 when there are no rows or they have another size, E42 when QEMU is
            needed and not installed, E44 when unicorn does not model the core, E45 when the code
            faults, does not end, or writes where it must not, E46 when instructions cannot be
            counted.
    """
    if rows.dtype != np.uint8 or rows.ndim != 2 or rows.shape[1] != image.in_bytes or not len(rows):
        raise DeliveryError(
            "E41",
            found=f"rows of {rows.dtype} {list(rows.shape)}",
            where=f"input of {image.path.name}",
            mend=f"give uint8 [rows, {image.in_bytes}]",
        )
    chosen = runner or ("unicorn" if image.core.unicorn else "qemu")
    if chosen == "qemu":
        return run_qemu(image, rows)
    if image.core.unicorn is None:
        raise DeliveryError(
            "E44",
            found=f"unicorn has no {image.core.name}",
            where="runner unicorn",
            mend="use runner qemu",
        )
    try:
        from edge.mcu.tools.emulate import run_unicorn
    except ImportError as error:
        raise DeliveryError(
            "E42", found="unicorn is not installed", where="runner unicorn", mend="make setup"
        ) from error
    return run_unicorn(image, rows, checked)
