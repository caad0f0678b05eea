"""How every step runs: a Prefect task cached by the digest of all it reads."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from prefect import task
from prefect.context import TaskRunContext

from firnline import wiring
from firnline.digest import bytes_digest, digest
from flows.progress import reporter

_SOURCES = {".py", ".c", ".h", ".ld", ".S"}

Document = dict[str, Any]
Results = dict[str, Document]


@dataclass(frozen=True)
class Step:
    """One step of the main job.

    Attributes:
        ensemble: Whose step.
        name: One of the seven, `register`, `quantize`, or `target-` and a target's name.
        inputs: Everything the outcome depends on, as digests and plain values.
        doing: What the progress line says.
        make: Fills an empty folder and returns the step's document.
        summarise: The step's one-line summary for people.
    """

    ensemble: str
    name: str
    inputs: Document
    doing: str
    make: Callable[[Path], Document]
    summarise: Callable[[Document], str]

    @property
    def key(self) -> str:
        """Digest of the inputs: the artifact's name and Prefect's cache key."""
        return digest({"step": self.name, "ensemble": self.ensemble, "inputs": self.inputs})


def run_step(step: Step) -> Document:
    """Run a step, or reuse what is whole.

    Returns:
        The step's document with `key`, `path` (of its artifact folder, relative to the state
        folder), `reused` and `seconds`.
    """
    started = time.monotonic()
    reporter().start(step.name, step.doing)
    store = wiring.artifacts()
    whole = store.whole(step.ensemble, step.name, step.key) is not None
    # A cached result whose files were lost or altered must not be believed.
    run = _build.with_options(task_run_name=f"{step.name}-{step.key[:8]}", refresh_cache=not whole)
    state = run(step.key, step, return_state=True)
    document: Document = state.result()
    reused = whole
    seconds = time.monotonic() - started
    reporter().end(step.name, step.summarise(document), reused=reused, seconds=seconds)
    folder = store.folder(step.ensemble, step.name, step.key)
    return {
        **document,
        "key": step.key,
        "path": str(folder.relative_to(wiring.settings().state)),
        "reused": reused,
        "seconds": seconds,
    }


def _by_key(_context: TaskRunContext, parameters: dict[str, Any]) -> str:
    return str(parameters["key"])


@task(name="step", cache_key_fn=_by_key, persist_result=True, result_serializer="json")
def _build(key: str, step: Step) -> Document:
    return wiring.artifacts().build(step.ensemble, step.name, key, step.make)


def folder_of(document: Document) -> Path:
    """The artifact folder of a step's document, as an absolute path."""
    return wiring.settings().state / str(document["path"])


def code(*modules: str, packages: tuple[str, ...] = (), folder: Path | None = None) -> str:
    """Digest of the code a step's outcome depends on.

    Args:
        modules: Our modules, by dotted name; of a package everything within, its C too.
        packages: Distributions whose version counts.
        folder: A workload's folder, whose Python files all count.
    """
    sources = {name: _source_digest(name) for name in modules}
    if folder is not None:
        files = sorted(folder.glob("*.py"))
        sources |= {path.name: bytes_digest(path.read_bytes()) for path in files}
    return digest({"sources": sources, "packages": {name: version(name) for name in packages}})


def _source_digest(module: str) -> str:
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        return ""
    if spec.submodule_search_locations:
        root = Path(spec.origin).parent
        files = sorted(path for path in root.rglob("*") if path.suffix in _SOURCES)
        return digest(
            {str(path.relative_to(root)): bytes_digest(path.read_bytes()) for path in files}
        )
    return bytes_digest(Path(spec.origin).read_bytes())
