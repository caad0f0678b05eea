"""A full disk, told as one clear error, whichever library met it."""

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from firnline.errors import ContractError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_SAYS_FULL = re.compile(
    r"no space left|file too large|quota exceeded|max_temp_directory_size|errno (27|28|122)\b",
    re.IGNORECASE,
)


@contextmanager
def disk_errors(where: Path) -> Iterator[None]:
    """Turn a full disk, or a limit reached, into a ContractError.

    Args:
        where: What was being written.

    Raises:
        ContractError: C09 the disk is full, or DuckDB's memory and temporary space are.
    """
    try:
        yield
    except (OSError, duckdb.Error) as error:
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        full = getattr(error, "errno", None) in _FULL or _SAYS_FULL.search(str(error))
        if full or isinstance(error, duckdb.OutOfMemoryException):
            raise ContractError(
                "C09",
                found=f"no room left: {text}",
                where=str(where),
                mend="free disk space there (three times the readings' size), or raise "
                "FIRNLINE_TEMP_LIMIT and FIRNLINE_MEMORY_LIMIT; nothing was half written",
            ) from error
        raise
