"""What an edge engineer needs of a model in parts: who computes what, in which turn, and how."""

from typing import Any

from edge.npu.split import Part, Split
from edge.program import Program, Value


def parts(split: Split) -> list[dict[str, Any]]:
    """A row a turn, in the order they run.

    Each has `turn` from 1, `place` (`cpu` or `npu`), `file` (what computes it), and `inputs` and
    `outputs`: `name`, `dtype`, `shape` without the batch, and `scale` and `zero` of int8 values,
    real = scale * (stored - zero).
    """
    return [
        {
            "turn": turn,
            "place": part.place,
            "file": _file(part),
            "inputs": _ports(part.program, part.program.inputs),
            "outputs": _ports(part.program, part.program.outputs),
        }
        for turn, part in enumerate(split.parts, start=1)
    ]


def readme(name: str, rows: list[dict[str, Any]]) -> str:
    """The same for people.

    Args:
        name: The model's.
        rows: As `parts` makes them.
    """
    lines = [
        f"# {name} on an Ethos-U",
        "",
        "Compute the turns in order; what one gives, a later one reads under the same name. Values",
        "lie in row-major order of their shape, images with channels last. Of an int8 value,",
        "real = scale * (stored - zero).",
        "",
        "| turn | by | file | reads | gives |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        given, made = (_told(row[side]) for side in ("inputs", "outputs"))
        place = "the core" if row["place"] == "cpu" else "the NPU"
        lines.append(f"| {row['turn']} | {place} | `{row['file']}` | {given} | {made} |")
    lines += [
        "",
        "A file `*_vela.tflite` holds the command stream as one custom operator: hand it to the",
        "driver, with inputs and outputs in the order of this table. `*.tosa` and `*.tflite` are",
        "what it was compiled from. A folder of the core's is a C project with a README.",
    ]
    return "\n".join(lines) + "\n"


def _file(part: Part) -> str:
    name = part.program.name
    return f"{name}_vela.tflite" if part.place == "npu" else f"{name}/src/{name}.c"


def _ports(program: Program, names: tuple[str, ...]) -> list[dict[str, Any]]:
    return [_port(program.values[name]) for name in names]


def _port(value: Value) -> dict[str, Any]:
    told: dict[str, Any] = {
        "name": value.name,
        "dtype": value.dtype,
        "shape": list(value.shape),
    }
    return told | ({"scale": value.scale, "zero": value.zero} if value.dtype == "int8" else {})


def _told(ports: list[dict[str, Any]]) -> str:
    shown = []
    for port in ports:
        scaled = f", scale {port['scale']:.9g}, zero {port['zero']}" if "scale" in port else ""
        shown.append(f"`{port['name']}` {port['dtype']}{port['shape']}{scaled}")
    return "; ".join(shown).replace("|", "\\|")
