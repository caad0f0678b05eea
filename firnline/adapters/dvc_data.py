"""Snapshots of raw readings under DVC: one folder an ensemble, one `data.dvc` that names all."""

import fcntl
import logging
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from firnline.adapters.disk import disk_errors
from firnline.adapters.source_files import matching, relative
from firnline.digest import file_digest, manifest_digest, tree_manifest
from firnline.errors import ContractError

DVC_FILE = "data.dvc"
CONFIG = """\
[core]
    analytics = false
    check_update = false
[cache]
    type = "reflink,hardlink,copy"
"""
GITIGNORE = "/config.local\n/tmp\n/cache\n"
DVCIGNORE = "# Folders of a snapshot in the making.\n/data/.*\n"
NO_GIT = "[core]\n    no_scm = true\n"


@dataclass(frozen=True)
class Snapshot:
    """Raw readings that do not change.

    Attributes:
        path: The folder, `data/<name>` of the project.
        sha256: `firnline.digest.tree_digest` of it; what every later step names.
        dvc: DVC's own digest, an MD5 that ends in `.dir`.
        bytes: Size of its files.
        files: Their number.
        reused: An earlier snapshot was the same, and nothing was written.
    """

    path: Path
    sha256: str
    dvc: str
    bytes: int
    files: int
    reused: bool


def snapshot(
    source: Path, name: str, project: Path, *, patterns: Sequence[str] = ("*", "*/*")
) -> Snapshot:
    """Copy a source's files to `data/<name>` and record them in `data.dvc`.

    The copy is made beside the old snapshot and takes its place when it is whole. No remote is
    asked, and no network used.

    Args:
        source: A folder, or one file; `data/<name>` itself is recorded as it stands.
        name: The ensemble.
        project: The folder that holds `data/`, `data.dvc` and `.dvc/`; need not be under git.
        patterns: The files that count, relative to the source: `ReadingContract.patterns()`.

    Raises:
        ContractError: C01 nothing is there, C08 a link leads out of the source or the name is
            unsafe, C09 the disk is full, C10 the source changed meanwhile or DVC refuses.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise ContractError(
            "C08",
            found=f"{name!r} cannot be a folder's name",
            where="the ensemble's name",
            mend="use small letters, digits and _",
        )
    target = project / "data" / name
    with disk_errors(target), _locked(project):
        _recover(target)
        in_place = target.exists() and source.exists() and source.samefile(target)
        if in_place:
            matching(target, ("*", "*/*", "*/*/*"))
            manifest = tree_manifest(target)
        else:
            paths = _named(source, patterns)
            manifest = {key: file_digest(path) for key, path in paths.items()}
        if not manifest:
            raise ContractError(
                "C01",
                found=f"no file matches {', '.join(patterns)}",
                where=str(source),
                mend="name the folder that holds them, or change files.readings in the contract",
            )
        sha256 = manifest_digest(manifest)
        known = _record(project, name)
        same = target.is_dir() and tree_manifest(target) == manifest
        reused = same and known.get("sha256") == sha256 and _cached(project, known.get("dvc"))
        if not reused:
            if not same:
                _replace(paths, manifest, target)
            _add(project, name, sha256)
        return _described(project, name, target, sha256, reused)


def current(name: str, project: Path) -> Snapshot | None:
    """The recorded snapshot, checked against its files; None when there is none here.

    Files that are gone come back from DVC's cache, if it holds them.

    Raises:
        ContractError: C10 the files are not those that were recorded.
    """
    known = _record(project, name)
    target = project / "data" / name
    if "sha256" not in known or "dvc" not in known:
        return None
    if not target.is_dir():
        if not _cached(project, known["dvc"]):
            return None
        with disk_errors(target), _locked(project), _repository(project) as repository:
            repository.checkout(targets=[str(target)], force=True)
    found = manifest_digest(tree_manifest(target))
    if found != known["sha256"]:
        raise ContractError(
            "C10",
            found=f"its files have the digest {found[:12]}, recorded is {known['sha256'][:12]}",
            where=str(target),
            mend=f"take the recorded files back with `dvc checkout -f {target}`, or record these "
            "by ingesting that folder",
        )
    return _described(project, name, target, found, True)


def initialise(project: Path) -> None:
    """Write what DVC needs to take a folder for its own, where it is missing."""
    folder = project / ".dvc"
    folder.mkdir(parents=True, exist_ok=True)
    files = {folder / "config": CONFIG, folder / ".gitignore": GITIGNORE}
    files[project / ".dvcignore"] = DVCIGNORE
    if not any((parent / ".git").exists() for parent in (project, *project.resolve().parents)):
        files[folder / "config.local"] = NO_GIT
    for path, text in files.items():
        if not path.exists():
            _write(path, text)


def _named(source: Path, patterns: Sequence[str]) -> dict[str, Path]:
    root = source if source.is_dir() else source.parent
    return {relative(path, root): path for path in matching(source, patterns)}


def _replace(paths: Mapping[str, Path], manifest: Mapping[str, str], target: Path) -> None:
    partial = target.with_name(f".{target.name}.partial")
    old = target.with_name(f".{target.name}.old")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        for key, path in paths.items():
            copy = partial / key
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
        if tree_manifest(partial) != manifest:
            raise ContractError(
                "C10",
                found="the source changed while it was copied",
                where=str(target),
                mend="wait until nothing writes to it, then ingest again",
            )
        if target.exists():
            target.rename(old)
        partial.rename(target)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        _recover(target)


def _recover(target: Path) -> None:
    old = target.with_name(f".{target.name}.old")
    if old.exists() and not target.exists():
        old.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def _add(project: Path, name: str, sha256: str) -> None:
    path = project / DVC_FILE
    before = path.read_text(encoding="utf-8") if path.exists() else None
    outs = [out for out in _outs(project) if out["path"] != f"data/{name}"]
    outs.append({"path": f"data/{name}", "hash": "md5", "meta": {"sha256": sha256}})
    outs.sort(key=lambda out: str(out["path"]))
    _write(path, yaml.safe_dump({"outs": outs}, sort_keys=False))
    try:
        with _repository(project) as repository:
            repository.add(str(project / "data" / name))
    except BaseException:
        if before is None:
            path.unlink(missing_ok=True)
        else:
            _write(path, before)
        raise


def _outs(project: Path) -> list[dict[str, Any]]:
    path = project / DVC_FILE
    if not path.exists():
        return []
    try:
        outs = (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get("outs") or []
        if all("path" in out for out in outs):
            return list(outs)
        found = "an entry of `outs` has no path"
    except (yaml.YAMLError, UnicodeDecodeError, AttributeError, TypeError) as error:
        found = f"not a DVC file: {str(error).splitlines()[0]}"
    raise ContractError(
        "C10", found=found, where=str(path), mend="take it back from version control"
    )


def _record(project: Path, name: str) -> dict[str, str]:
    for out in _outs(project):
        if out["path"] == f"data/{name}":
            sha256 = (out.get("meta") or {}).get("sha256")
            fields = {"sha256": sha256, "dvc": out.get("md5")}
            return {key: str(value) for key, value in fields.items() if value}
    return {}


def _cached(project: Path, md5: str | None) -> bool:
    cache = project / ".dvc" / "cache" / "files" / "md5"
    return md5 is not None and (cache / md5[:2] / md5[2:]).is_file()


def _described(project: Path, name: str, target: Path, sha256: str, reused: bool) -> Snapshot:
    sizes = [path.stat().st_size for path in target.rglob("*") if path.is_file()]
    md5 = _record(project, name)["dvc"]
    return Snapshot(target, sha256, md5, sum(sizes), len(sizes), reused)


def _write(path: Path, text: str) -> None:
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


@contextmanager
def _locked(project: Path) -> Iterator[None]:
    initialise(project)
    (project / "data").mkdir(exist_ok=True)
    (project / ".dvc" / "tmp").mkdir(exist_ok=True)
    with (project / ".dvc" / "tmp" / "firnline.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _repository(project: Path) -> Iterator[Any]:
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    log = logging.getLogger("dvc")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with Repo(str(project)) as repository:
            yield repository
    except DvcException as error:
        raise ContractError(
            "C10",
            found=f"DVC refuses: {error}",
            where=str(project / DVC_FILE),
            mend="run `dvc status` there and do what it says",
        ) from error
    finally:
        log.setLevel(level)
