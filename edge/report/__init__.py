"""What a model takes on a chip, and what was shown of it: JSON, Markdown and a page with plots."""

from importlib.metadata import distribution

from edge.export.make import PROOF, Built
from edge.folder import pretty
from edge.report.document import document
from edge.report.html import page
from edge.report.markdown import across, markdown
from edge.report.vectors import vectors

__all__ = ["across", "document", "files_of", "licence", "markdown", "page"]


def files_of(built: Built) -> dict[str, bytes]:
    """Everything an edge team gets for one target, by its place in the folder.

    The artifact's own files, `proof.json`, `report.json`, `report.md`, `report.html`, the vectors
    the proof was made on, and the licence of the C.
    """
    report = document(built)
    return {
        **built.artifact.files,
        PROOF: pretty(built.proof.document()),
        "report.json": pretty(report),
        "report.md": markdown(report).encode(),
        "report.html": page(report).encode(),
        **vectors(built),
        "LICENSE": licence(),
    }


def licence() -> bytes:
    """The text of firnline's licence, which its kernels are under.

    Raises:
        FileNotFoundError: The installation has lost it.
    """
    text = distribution("firnline").read_text("licenses/LICENSE")
    if text is None:
        raise FileNotFoundError("the installed firnline has no licence text; install it again")
    return text.encode()
