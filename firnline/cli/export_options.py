"""`firnline export` as the shell sees it."""

from pathlib import Path
from typing import Annotated

import typer

_UNTOLD = {
    "ranges": "observed",
    "rounding": "compensated",
    "per_channel": True,
    "reduce_range": False,
    "float_layers": (),
}
"""What the options of `--onnx` are when none is given."""


def _known_targets(incomplete: str) -> list[str]:
    """What the shell completes a target to."""
    from edge.targets import names

    return [name for name in names(Path.cwd()) if name.startswith(incomplete)]


def export(
    ensemble: Annotated[
        str | None,
        typer.Argument(help="An ensemble's name or folder; none with --onnx."),
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(
            help="A target by name, or a profile's .toml; may be given more than once. "
            "Default: the manifest's release.targets.",
            autocompletion=_known_targets,
        ),
    ] = None,
    onnx: Annotated[Path | None, typer.Option(help="A float ONNX of one input instead.")] = None,
    calibration: Annotated[
        Path | None, typer.Option(help="Rows for --onnx, float32 [rows, *input], as .npy.")
    ] = None,
    vectors: Annotated[
        Path | None, typer.Option(help="Rows to prove it on, as .npy. Default: the calibration's.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for --onnx. Default: .firnline/exports/NAME.")
    ] = None,
    io: Annotated[
        str, typer.Option(help="What the device is handed with --onnx: int8 or float32.")
    ] = "int8",
    ranges: Annotated[
        str,
        typer.Option(help="With --onnx: observed, clip, percentile or entropy activation ranges."),
    ] = "observed",
    rounding: Annotated[
        str, typer.Option(help="With --onnx: nearest or compensated rounding of weights.")
    ] = "compensated",
    per_tensor: Annotated[
        bool, typer.Option("--per-tensor", help="With --onnx: one weight scale a layer.")
    ] = False,
    reduce_range: Annotated[
        bool, typer.Option("--reduce-range", help="With --onnx: weights of seven bits.")
    ] = False,
    float_layer: Annotated[
        list[str] | None, typer.Option(help="With --onnx: a layer that stays float, by name.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one machine-readable document.")
    ] = False,
) -> None:
    """Export a model for chips, each with the proof that it computes what was registered.

    The artifact, the proof and the report of every target lie in the folder that is printed.
    """
    from firnline.cli.export import export_ensemble, export_onnx

    how = {
        "ranges": ranges,
        "rounding": rounding,
        "per_channel": not per_tensor,
        "reduce_range": reduce_range,
        "float_layers": tuple(float_layer or ()),
    }
    # An ensemble's manifest says how; an option beside it would silently count for nothing.
    alone = how == _UNTOLD and io == "int8" and not (calibration or vectors or out)
    if onnx is None and ensemble is not None and alone:
        export_ensemble(ensemble, target, as_json=as_json)
    elif onnx is not None and ensemble is None and calibration is not None and target:
        export_onnx(onnx, calibration, vectors, target, out, io, how, as_json=as_json)
    else:
        raise typer.BadParameter(
            "give an ensemble, with --target and --json alone, or --onnx with --calibration and "
            "at least one --target"
        )
