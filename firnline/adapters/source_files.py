"""Which files of a source count, and whether they may: no path leaves the source."""

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from firnline.errors import ContractError

_GLOB_SIGNS = frozenset("*?[]{}")


def matching(source: Path, patterns: Iterable[str]) -> tuple[Path, ...]:
    """The files of a folder that patterns name, sorted by their relative path.

    Where a pattern with folders matches nothing, its last part is tried at the top, so that a
    flat folder of files, or a single file, will do.

    Args:
        source: A folder, or one file, which then counts whatever the patterns say.
        patterns: Relative to the folder; `*` stays within one folder.

    Raises:
        ContractError: C01 nothing is there, C08 a file lies outside or has an unsafe name.
    """
    if not source.exists():
        raise ContractError(
            "C01",
            found="there is no such file or folder",
            where=str(source),
            mend="check the path; a folder or one Parquet, CSV or JSON-lines file is expected",
        )
    if source.is_file():
        return (_safe(source, source.parent),)
    found: dict[str, Path] = {}
    for pattern in patterns:
        hits = sorted(source.glob(pattern)) or sorted(source.glob(PurePosixPath(pattern).name))
        for path in hits:
            if path.is_file() or path.is_symlink():
                found[relative(path, source)] = _safe(path, source)
    return tuple(found[name] for name in sorted(found))


def relative(path: Path, root: Path) -> str:
    """A file's path below the source, with `/`, the same on every system."""
    return str(PurePosixPath(path.relative_to(root)))


def _safe(path: Path, root: Path) -> Path:
    if not path.resolve().is_relative_to(root.resolve()) or not path.exists():
        raise ContractError(
            "C08",
            found=f"it is a link to {path.resolve()}, outside the source or gone",
            where=str(path),
            mend="put the file itself there, or name the folder it lies in as the source",
        )
    if _GLOB_SIGNS & set(str(path)) or any(ord(sign) < 32 for sign in str(path)):
        raise ContractError(
            "C08",
            found="the path has one of * ? [ ] { } or a control character in it",
            where=repr(str(path)),
            mend="rename it; DuckDB would read it as a pattern",
        )
    return path
