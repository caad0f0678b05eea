"""Finding an ensemble: by name under models/, or by the folder that holds its manifest."""

import importlib
import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from firnline.contracts.ensemble import Ensemble, load
from firnline.errors import HandshakeError


@dataclass(frozen=True)
class Workload:
    """A manifest and the folder it lies in."""

    manifest: Ensemble
    folder: Path

    @property
    def name(self) -> str:
        """The ensemble's name."""
        return self.manifest.name

    @property
    def contract(self) -> Path:
        """The reading contract's file."""
        return self.folder / self.manifest.data.contract


def locate(ensemble: str, project: Path) -> Workload:
    """Find an ensemble in the project, or among those that ship.

    A user's Python modules are imported from the project folder, which joins `sys.path` here.

    Args:
        ensemble: A name, or a path of a folder with an ensemble.toml.
        project: The project folder.

    Raises:
        HandshakeError: M1 to M3, as `firnline.contracts.ensemble.load`.
    """
    if str(project) not in sys.path:
        sys.path.insert(0, str(project))
    for folder in _places(ensemble, project):
        if (folder / "ensemble.toml").is_file():
            return Workload(load(folder / "ensemble.toml"), folder.resolve())
    known = ", ".join(names(project)) or "none"
    raise HandshakeError(
        "M1",
        found=f"no ensemble {ensemble!r} (known here: {known})",
        where=str(project),
        mend="name one of these, or a folder that holds an ensemble.toml",
    )


def names(project: Path) -> list[str]:
    """Names of every ensemble the project and the package hold, sorted."""
    roots = {project, project / "models", _built_in()}
    return sorted({path.parent.name for root in roots for path in root.glob("*/ensemble.toml")})


def views(workload: Workload) -> tuple[Any, ...]:
    """The ensemble's feature views, from the module its manifest names.

    Raises:
        HandshakeError: M8, the module cannot be imported, or holds no VIEWS.
    """
    module_name = workload.manifest.features.module
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise HandshakeError(
            "M8",
            found=f"{type(error).__name__}: {error}",
            where=f"features.module = {module_name!r} of {workload.name}",
            mend="make the module importable from the project folder",
        ) from error
    found = tuple(getattr(module, "VIEWS", ()))
    missing = set(workload.manifest.references()) - {view.reference for view in found}
    if missing:
        raise HandshakeError(
            "M8",
            found=f"VIEWS lacks {', '.join(sorted(missing))}",
            where=f"features.module = {module_name!r} of {workload.name}",
            mend="define the view there, or correct the reference in ensemble.toml",
        )
    by_reference = {view.reference: view for view in found}
    return tuple(by_reference[reference] for reference in workload.manifest.references())


def _places(ensemble: str, project: Path) -> tuple[Path, ...]:
    return project / ensemble, project / "models" / ensemble, _built_in() / ensemble


def _built_in() -> Path:
    spec = importlib.util.find_spec("models")
    if spec is None or spec.origin is None:
        return Path("models")
    return Path(spec.origin).parent
