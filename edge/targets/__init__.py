"""Target profiles: one TOML file a chip, those that ship and a user's own."""

from pathlib import Path

from firnline.contracts.target import Profile, parse
from firnline.errors import DeliveryError

SHIPPED = Path(__file__).parent
FOLDER = "targets"
"""Folder of a project's own profiles."""


def names(project: Path | None = None) -> tuple[str, ...]:
    """Names of all targets, the project's own included, sorted."""
    return tuple(
        sorted({path.stem for folder in _folders(project) for path in folder.glob("*.toml")})
    )


def load(target: str, project: Path | None = None) -> Profile:
    """The profile of a target.

    A project's own profile comes before a shipped one of the same name.

    Args:
        target: A name, or the path of a .toml file.
        project: Folder that may hold `targets/`.

    Raises:
        DeliveryError: E80 there is no such target, E81 its profile does not fit the schema.
    """
    named = Path(target)
    places = [named] if target.endswith(".toml") else []
    places += [folder / f"{target}.toml" for folder in _folders(project) if named.name == target]
    for path in places:
        if path.is_file():
            profile = parse(_text(path), str(path))
            if profile.name != path.stem:
                raise DeliveryError(
                    "E81",
                    found=f"the profile calls itself {profile.name!r}",
                    where=str(path),
                    mend="give the file and the profile one name",
                )
            return profile
    raise DeliveryError(
        "E80",
        found=f"no target {target!r} (known here: {', '.join(names(project))})",
        where="targets",
        mend=f"name one of these, or write {FOLDER}/{named.name.removesuffix('.toml')}.toml",
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DeliveryError(
            "E81",
            found=f"not readable as UTF-8 text: {error}",
            where=str(path),
            mend="save the profile as UTF-8, readable to you",
        ) from error


def _folders(project: Path | None) -> list[Path]:
    own = [] if project is None else [project / FOLDER]
    return [*own, SHIPPED]
