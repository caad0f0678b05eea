"""Commit a folder again and again, killed one file operation later each time, until it is done.

`python killed_commits.py ROOT FOLDER WORK`: ROOT holds the data before, FOLDER what is committed,
WORK the copies. Prints how many kills there were and how many of them left the old and the new
data. A fork dies by `_exit` in an audit hook, so nothing is tidied up.
"""

import os
import shutil
import sys
from pathlib import Path

import pyarrow.compute
import pyarrow.parquet  # noqa: F401  Before the forks, which would each do it anew.

from firnline.adapters.feature_data import FeatureData

VIEW, TABLE = "a" * 64, "sums_v1"
KILLED = 9
CHANGES = {"open", "os.rename", "os.chmod", "os.mkdir", "os.remove", "shutil.copyfile"}


def commit(root: Path, folder: Path, kill_at: int) -> int:
    """Exit code of a fork that commits and dies at its nth file operation."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    seen = 0

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal seen
        if event in CHANGES and str(root) in str(arguments):
            seen += 1
            if seen == kill_at:
                os._exit(KILLED)

    sys.addaudithook(hook)
    FeatureData(root).commit(TABLE, VIEW, folder)
    os._exit(0)


def checked(root: Path, folder: Path, before: str, after: str) -> str:
    """The digest that a kill left; every byte of it is read, and a second commit completes it."""
    data = FeatureData(root)
    found = data.head(TABLE)
    assert found is not None
    assert found.digest in {before, after}, found
    data.files(found)
    data.files(data.snapshot(TABLE, before))
    assert commit(root, folder, 0) == 0
    newest = data.head(TABLE)
    assert newest is not None
    assert newest.digest == after
    data.files(newest)
    assert not [path for path in root.rglob("*") if "partial" in path.name], "litter"
    return found.digest


def main(source: Path, folder: Path, work: Path) -> None:
    """Kill at every point."""
    known = FeatureData(source).head(TABLE)
    assert known is not None
    shutil.copytree(source, work / "whole")
    assert commit(work / "whole", folder, 0) == 0
    whole = FeatureData(work / "whole").head(TABLE)
    assert whole is not None
    left: list[str] = []
    while True:
        root = work / str(len(left) + 1)
        shutil.copytree(source, root)
        if commit(root, folder, len(left) + 1) == 0:
            break
        left.append(checked(root, folder, known.digest, whole.digest))
    print(len(left), left.count(known.digest), left.count(whole.digest))


main(*map(Path, sys.argv[1:]))
