"""The measured tables of docs/kernels.md and docs/npu.md, made of benchmarks/results/edge.json.

    python -m benchmarks.edge_page

Every block after a mark `<!-- measured: NAME -->`, up to the next empty line, is replaced.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "edge.json"
PAGES = (ROOT / "docs" / "kernels.md", ROOT / "docs" / "npu.md")
MARK = re.compile(r"(<!-- measured: ([a-z-]+) -->\n)(.*?)(?=\n\n|\Z)", re.S)

MAIN, RELEASED = "autoencoder_random", "refrigeration"
TITLES = {
    MAIN: "autoencoder, random weights",
    "autoencoder_trained": "autoencoder, trained",
    "autoencoder_published": "autoencoder, published weights",
    "autoencoder_random_per_tensor": "autoencoder, one scale a layer",
    "extractor_conv1d": "Conv1D extractor",
    RELEASED: "refrigeration ensemble",
}
Row = Mapping[str, Any]


def main() -> None:
    """Write the tables into the pages."""
    made = blocks(json.loads(RESULTS.read_text(encoding="utf-8")))
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        page.write_text(MARK.sub(lambda found: found[1] + made[found[2]], text), encoding="utf-8")


def blocks(results: Sequence[Row]) -> dict[str, str]:
    """Name -> table or sentence, of the rows that `make bench-edge` wrote."""
    return {
        "peers": _peers(results),
        "models": _models(results),
        "released": _released(results),
        "graphs": _graphs(results),
        "npu": _npu(results),
    }


def _peers(results: Sequence[Row]) -> str:
    rows = []
    for row in _of(results, MAIN, "mcu-"):
        peer = row.get("peer")
        rows.append(
            (
                _core(row),
                _number(row["instructions"]),
                f"{row['instructions'] / row['macs']:.2f}",
                _number(peer["instructions"]) if peer else "-",
                f"{peer['instructions'] / row['instructions']:.1f}" if peer else "-",
                _number(row.get("code_bytes")),
                _number(row["ram_bytes"]),
                _number(row["bytes_differ"]),
            )
        )
    head = ("core", "instructions", "a MAC", "CMSIS-NN", "times fewer", "code, B", "RAM, B",
            "bytes that differ")  # fmt: skip
    return _table(head, rows)


def _models(results: Sequence[Row]) -> str:
    named = dict.fromkeys(row["model"] for row in results if row["macs"] is not None)
    models = [name for name in named if any(_of(results, name, "mcu-"))]
    cores = [row["target"] for row in _of(results, MAIN, "mcu-")]
    rows = []
    for target in cores:
        found = [next(iter(_of(results, name, target)), None) for name in models]
        cells = [
            "-"
            if row is None
            else f"{_number(row['instructions'])} ({_number(row['vectors'])}, "
            f"{_number(row['bytes_differ'])})"
            for row in found
        ]
        rows.append((target.removeprefix("mcu-"), *cells))
    return _table(("core", *(TITLES.get(name, name) for name in models)), rows)


def _released(results: Sequence[Row]) -> str:
    rows = []
    for row in _of(results, RELEASED, ""):
        names = ("instructions", "flash_bytes", "ram_bytes", "vectors", "bytes_differ")
        cells = [_number(row.get(name)) for name in names]
        agreement = row.get("agreement")
        rows.append(
            (
                f"`{row['target']}`",
                *cells,
                "-" if agreement is None else f"{100 * agreement:g} %",
                "-" if row.get("auc_target") is None
                else f"{row['auc_float']:.4f} -> {row['auc_target']:.4f}",
            )
        )  # fmt: skip
    head = ("target", "instructions", "flash, B", "RAM, B", "windows", "bytes that differ",
            "decisions as the reference", "AUC, float -> target")  # fmt: skip
    return _table(head, rows)


def _graphs(results: Sequence[Row]) -> str:
    """A sentence on the random graphs, where they were measured."""
    row = next((row for row in results if "random graphs" in row["model"]), None)
    if row is None:
        return "Random graphs were not part of this run."
    told = f"{row['model']}: {_number(row['bytes_differ'])} bytes differ in"
    return f"{told} {_number(row['vectors'])} windows ({row['runner']})."


def _npu(results: Sequence[Row]) -> str:
    rows = [
        (
            str(TITLES.get(row["model"], row["model"])),
            f"`{row['target']}`",
            _number(row.get("cycles")),
            _number(row.get("npu_cycles")),
            _number(row["instructions"]),
            _number(row["flash_bytes"]),
            _number(row["ram_bytes"]),
            _number(row["bytes_differ"]),
        )
        for row in results
        if row["target"].startswith("npu-ethos-")
    ]
    head = ("model", "target", "cycles", "of the NPU alone", "the core's instructions", "flash, B",
            "RAM, B", "bytes that differ")  # fmt: skip
    return _table(head, rows)


def _of(results: Sequence[Row], model: str, target: str) -> list[Row]:
    """Rows of a model on targets whose names begin so."""
    return [row for row in results if row["model"] == model and row["target"].startswith(target)]


def _core(row: Row) -> str:
    return str(row["target"]).removeprefix("mcu-")


def _number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    main()
