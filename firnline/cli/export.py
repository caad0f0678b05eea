"""`firnline export`: a model for chips, each with its proof."""

import json
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast, get_args

from pydantic import ValidationError
from rich.markup import escape
from rich.table import Table

from firnline import wiring
from firnline.cli.run import fail, flow_job, unexpected
from firnline.cli.show import RunProgress, aside, print_json, screen
from firnline.contracts.quantize import Quantize
from firnline.errors import DeliveryError, FirnlineError

_TABLE, _TITLE = "README.md", ", by target"
"""Of an output folder: the file with every target in it, and how its first line ends."""


def export_ensemble(ensemble: str, targets: list[str] | None, *, as_json: bool) -> None:
    """Export an ensemble's candidate for targets; exit 1 when one is refused."""

    def work(path: str | None) -> dict[str, Any]:
        from flows.targets import export_targets

        return export_targets(ensemble, targets, path)

    try:
        _check_targets(targets or [])
    except FirnlineError as error:
        fail(error, None, as_json=as_json)
    document = flow_job(ensemble, None, work, as_json=as_json)
    _show(document["targets"], as_json=as_json)


def export_onnx(
    onnx: Path,
    calibration: Path,
    vectors: Path | None,
    targets: list[str],
    out: Path | None,
    io: str,
    how: Mapping[str, Any],
    *,
    as_json: bool,
) -> None:
    """Export any float ONNX of one input; exit 1 with the reason when it is refused."""
    with RunProgress(quiet=as_json) as progress:
        try:
            folder = out or wiring.settings().state / "exports" / onnx.stem
            given = (onnx, calibration, vectors)
            documents = _export(given, targets, folder, io, _quantize(how), progress)
        except FirnlineError as error:
            progress.__exit__()
            fail(error, progress.step, as_json=as_json)
        except Exception as error:
            progress.__exit__()
            fail(unexpected(error, progress.step), progress.step, as_json=as_json)
    _show(documents, as_json=as_json)


def _export(
    given: tuple[Path, Path, Path | None],
    targets: list[str],
    out: Path,
    io: str,
    how: Quantize,
    progress: RunProgress,
) -> list[dict[str, Any]]:
    from edge.compile import compiler
    from edge.export.files import read_model, read_rows
    from edge.export.make import build, enforce
    from edge.export.model import VECTORS, Io, of_onnx
    from edge.folder import write
    from edge.quantize import quantize
    from edge.report import across, files_of
    from edge.targets import load
    from firnline.adapters.artifact_store import write_atomically

    if io not in get_args(Io):
        raise _refused(f"--io {io}", f"choose one of {', '.join(get_args(Io))}")
    onnx, calibration, vectors = given
    profiles = [load(target, wiring.settings().project) for target in targets]
    _check_out(out, [profile.name for profile in profiles])
    for profile in profiles:
        compiler(profile.kind).ready(profile)
    float_model = read_model(onnx)
    rows = read_rows(calibration, float_model)
    proved = read_rows(vectors, float_model) if vectors else rows
    documents = []
    for profile in profiles:
        started = time.monotonic()
        progress.start(profile.name, "quantising, building, proving")
        reduced = profile.cpu is not None and profile.cpu.reduce_range
        chosen = how.model_copy(update={"reduce_range": True}) if reduced else how
        made = quantize(float_model, rows, chosen)
        model = of_onnx(onnx.stem, (float_model, made.model), proved[:VECTORS], cast(Io, io))
        with tempfile.TemporaryDirectory() as folder:
            built = build(model, profile, Path(folder))
        enforce(built)
        write(out / profile.name, files_of(built))
        document = built.document()
        document["notes"] = [*made.notes, *document["notes"]]
        documents.append({**document, "path": str(out / profile.name)})
        progress.end(
            profile.name, built.proof.verdict, reused=False, seconds=time.monotonic() - started
        )
    write_atomically(out / _TABLE, f"# {onnx.stem}{_TITLE}\n\n{across(_exported(out))}")
    return documents


def _check_out(out: Path, targets: list[str]) -> None:
    """Refuse a folder in which an export would replace what no export has made."""
    from edge.export.make import PROOF

    if out.exists() and not out.is_dir():
        raise _refused(f"--out {out} is a file", "name a folder")
    table = out / _TABLE
    foreign = [
        out / name for name in targets if _filled(out / name) and not (out / name / PROOF).is_file()
    ]
    if table.exists() and not table.read_text("utf-8", "replace").partition("\n")[0].endswith(
        _TITLE
    ):
        foreign.append(table)
    if foreign:
        told = ", ".join(str(path) for path in foreign)
        raise _refused(f"--out {out} holds {told}, which no export made", "name an empty folder")


def _filled(folder: Path) -> bool:
    return folder.is_file() or (folder.is_dir() and any(folder.iterdir()))


def _exported(out: Path) -> list[dict[str, Any]]:
    """What every target in a folder reports, those of earlier exports too."""
    # Hidden are folders that are being written, or whose writer was killed.
    paths = [path for path in sorted(out.glob("*/report.json")) if path.parent.name[0] != "."]
    reports = [json.loads(path.read_text("utf-8")) for path in paths]
    return [{**report, "proof": {"verdict": report["verdict"]}} for report in reports]


def _check_targets(targets: list[str]) -> None:
    """Refuse a target there is not before anything is computed for it."""
    from edge.targets import load

    for target in targets:
        load(target, wiring.settings().project)


def _quantize(how: Mapping[str, Any]) -> Quantize:
    try:
        return Quantize.model_validate(how)
    except ValidationError as error:
        told = "; ".join(
            f"{item['loc'][0]} {item['input']!r}: {item['msg']}" for item in error.errors()
        )
        raise _refused(told, "`firnline export --help` lists every choice") from error


def _refused(found: str, mend: str) -> DeliveryError:
    return DeliveryError("E7", found=found, where="the options of firnline export", mend=mend)


def _show(documents: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print_json(documents[0] if len(documents) == 1 else {"targets": documents})
        return
    table = Table(box=None, header_style="bold")
    for name in ("target", "verdict", "instructions", "flash", "RAM", "windows", "bytes differ"):
        table.add_column(name, justify="left" if name in {"target", "verdict"} else "right")
    for document in documents:
        fields = ("instructions", "flash_bytes", "ram_bytes", "vectors", "bytes_differ")
        shown = ["-" if document[name] is None else f"{document[name]:,}" for name in fields]
        table.add_row(escape(document["target"]), document["proof"]["verdict"], *shown)
    screen().print(table)
    for document in documents:
        told = [*document["notes"], document["timings"].get("warning")]
        for note in (note for note in told if note):
            aside().print(
                f"[dim]{escape(document['target'])}: {escape(note)}[/dim]", soft_wrap=True
            )
        aside().print(f"[dim]{escape(document['path'])}[/dim]", soft_wrap=True)
