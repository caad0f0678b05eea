"""What would make a model smaller or faster on its chip: plain rules over its figures."""

from collections.abc import Mapping, Sequence
from typing import Any

_LARGE_SHARE = 0.4
_FLOAT_SHARE = 0.25


def advice(layers: Sequence[Mapping[str, Any]], figures: Mapping[str, Any]) -> list[str]:
    """Sentences, the weightiest first.

    Args:
        layers: Rows with `name`, `weight_bytes`, `macs` and, where counted, `instructions`.
        figures: `flash_bytes`, `code_bytes`, `weight_bytes`, `arena_bytes` and the like.
    """
    told = []
    for measure, unit in (("weight_bytes", "of the weights"), ("macs", "of the work")):
        share, name = _largest(layers, measure)
        if share >= _LARGE_SHARE and len(layers) > 1:
            told.append(
                f"{name} holds {100 * share:.0f} % {unit}: halving its width saves "
                f"{50 * share:.0f} %"
            )
    counted = sum(row.get("instructions", 0) for row in layers)
    floating = sum(row.get("instructions", 0) for row in layers if row.get("float"))
    if counted and floating / counted >= _FLOAT_SHARE:
        told.append(
            f"{100 * floating / counted:.0f} % of the instructions are float steps around the "
            "integer part: hand the device int8 values, or fewer columns"
        )
    live = [(row.get("live_bytes", 0), row["name"]) for row in layers]
    most = max(live, default=(0, ""))
    if most[0] and len(live) > 1:
        told.append(f"working memory peaks at {most[1]} with {most[0]:,} bytes")
    code, weights = figures.get("code_bytes"), figures.get("weight_bytes")
    if code and weights and code > weights:
        told.append("the code is larger than the weights: a larger model costs little more flash")
    return told


def _largest(layers: Sequence[Mapping[str, Any]], measure: str) -> tuple[float, str]:
    total = sum(row.get(measure, 0) for row in layers)
    if not total:
        return 0.0, ""
    row = max(layers, key=lambda row: row.get(measure, 0))
    return row.get(measure, 0) / total, str(row["name"])
