"""Room on a device's disk: looked at before it is needed, and named when it has run out."""

import errno
import shutil
from pathlib import Path

from firnline.errors import DeliveryError

_FULL = {errno.ENOSPC, errno.EDQUOT}
_UNLIKE = {errno.EISDIR, errno.ENOTDIR}


def room(folder: Path, wanted: int, free_bytes: int) -> None:
    """See that a disk has room, with some left over for whatever else runs there.

    Args:
        folder: A folder on that disk.
        wanted: Bytes that are to be written.
        free_bytes: Bytes that stay free.

    Raises:
        DeliveryError: U20, it has not.
    """
    free = shutil.disk_usage(folder).free
    if free < wanted + free_bytes:
        raise _full(f"{free:,} bytes free, {wanted:,} needed and {free_bytes:,} kept free", folder)


def unwritable(error: OSError, where: Path) -> DeliveryError:
    """The error for a write that failed.

    Args:
        error: What the system said.
        where: The file or folder.

    Returns:
        U20 where the disk is full, else U21.
    """
    if error.errno in _FULL:
        return _full("disk full", where)
    mend = "give the agent's user its state folder, on a disk that can be written"
    if error.errno in _UNLIKE:
        mend = "move away what lies there, a file or folder in the other's place; it is made anew"
    return DeliveryError(
        "U21",
        found=f"the agent's state cannot be written: {error.strerror or error}",
        # Of a rename the second, whose place could not be taken.
        where=str(error.filename2 or error.filename or where),
        mend=mend,
    )


def _full(found: str, where: Path) -> DeliveryError:
    return DeliveryError(
        "U20",
        found=f"no room: {found}",
        where=str(where),
        mend="free some of the disk, or lower limits.free_bytes; the device keeps what it runs",
    )
