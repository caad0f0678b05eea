"""The folder an edge engineer gets: sources, build files for three worlds, vectors, a README."""

import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from edge.mcu.emit_header import ports
from edge.mcu.generate import Project
from edge.mcu.project_readme import readme
from edge.mcu.project_vectors import Vectors, vector_files
from edge.mcu.project_wrappers import arduino, cmake, sketch, zephyr
from edge.program import Program
from firnline.errors import DeliveryError


def package(
    program: Program, project: Project, version: str, vectors: Vectors | None = None
) -> dict[str, str]:
    """Everything to deliver, text by path.

    Args:
        program: What the project was generated from.
        project: Its C.
        version: Of the model, three numbers.
        vectors: Rows with their results, for the self test.

    Raises:
        HandshakeError: [E35] vectors that do not fit; [E36] another form of version.
    """
    name = project.name
    inputs, outputs = ports(program)
    files = {f"src/{path}": text for path, text in project.files.items() if path != "entry.c"}
    if vectors is not None:
        made = vector_files(program, vectors)
        files |= {f"test/{path}": text for path, text in made.items()}
    return {
        "README.md": readme(program, project, vectors is not None),
        "CMakeLists.txt": cmake(name, vectors is not None),
        "library.properties": arduino(name, version, program.macs),
        f"examples/{name}_once/{name}_once.ino": sketch(name, inputs, outputs),
        **zephyr(name),
        **files,
    }


def write(files: Mapping[str, str], folder: Path) -> None:
    """Write files under a folder that does not exist yet: all of them or none.

    Args:
        files: Text by path.
        folder: Where to; its parent exists.

    Raises:
        DeliveryError: [E38] there is something already.
    """
    if folder.exists():
        raise DeliveryError(
            "E38",
            found="something is there already",
            where=str(folder),
            mend="remove it, or name another folder",
        )
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as beside:
        part = Path(beside) / folder.name
        for path, text in files.items():
            target = part / PurePosixPath(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8", newline="\n")
        part.rename(folder)
