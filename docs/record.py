"""Run the commands that docs/walk.md shows, and put what they print into it.

    .venv/bin/python docs/record.py --skab SKAB_DATA

Every block after a mark `<!-- recorded: NAME -->` is replaced; the runs take place in an empty
folder, whose path is left out. docs/recorded/ keeps the documents that `--json` prints, for the
tests that hold the pages to the code.
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
COLUMNS = 200
FENCE = "```"


def main() -> None:
    """Record every block of the walk."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--skab", type=Path, required=True, help="the folder data/ of SKAB v0.9")
    skab = parser.parse_args().skab.resolve()
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder).resolve()
        blocks = {
            "refrigeration": _shown(project, "run", "refrigeration"),
            "again": _shown(project, "run", "refrigeration"),
            "files": _files(project),
        }
        documents = {"refrigeration": _document(project, "run", "refrigeration")}
        blocks["promote"] = _shown(project, "promote", "refrigeration")
        blocks["skab"] = _shown(project, "run", "skab", "--data", str(skab))
        documents["skab"] = _document(project, "run", "skab")
        published = ("run", "skab", "--protocol", "isolation-forest")
        blocks["isolation-forest"] = _shown(project, *published)
        documents["isolation-forest"] = _document(project, *published)
    for name, document in documents.items():
        text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
        (DOCS / "recorded" / f"{name}.json").write_text(text, encoding="utf-8")
    path = DOCS / "walk.md"
    page = path.read_text(encoding="utf-8")
    for name, block in blocks.items():
        page = replaced(page, name, block)
    page = re.sub(r"(?<=<!-- recorded: machine -->\n).*", _machine(), page)
    path.write_text(page, encoding="utf-8")


def replaced(page: str, name: str, block: str) -> str:
    """The page with another text in the fenced block after a mark."""
    start, fence, rest = page.partition(f"<!-- recorded: {name} -->\n{FENCE}text\n")
    if not fence:
        raise SystemExit(f"docs/walk.md has no block {name!r}")
    return f"{start}{fence}{block}{rest[rest.index(FENCE) :]}"


def _run(project: Path, *arguments: str, merged: bool) -> str:
    command = Path(sys.executable).with_name("firnline")
    # The reader's settings are the defaults.
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("FIRNLINE_", "PREFECT_"))
    }
    done = subprocess.run(
        [str(command), *arguments],
        cwd=project,
        env={**kept, "COLUMNS": str(COLUMNS)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT if merged else subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stdout + (done.stderr or ""))
    return done.stdout.replace(f"{project}/", "")


def _shown(project: Path, *arguments: str) -> str:
    lines = _run(project, *arguments, merged=True).splitlines()
    return "".join(f"{line.rstrip()}\n" for line in lines)


def _document(project: Path, *arguments: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(_run(project, *arguments, "--json", merged=False))
    return document


def _files(project: Path) -> str:
    """What the refrigeration run left, by name."""
    root = project / ".firnline" / "artifacts" / "refrigeration"
    lines = []
    for folder in sorted(path for path in root.glob("*/*") if path.is_dir()):
        lines.append(f"{folder.parent.relative_to(project)}/<key>/")
        lines += [
            f"  {path.name}{'/' if path.is_dir() else ''}" for path in sorted(folder.iterdir())
        ]
    return "".join(f"{line}\n" for line in lines)


def _machine() -> str:
    cpu = platform.machine()
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            cpu = line.partition(":")[2].strip()
            break
    return (
        f"Recorded on {datetime.now(UTC):%Y-%m-%d}: {os.cpu_count()} cores ({cpu}), "
        f"Python {platform.python_version()}."
    )


if __name__ == "__main__":
    main()
