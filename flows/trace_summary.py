"""A trace on one table: what each pair was worth over all draws of the earlier version."""

from collections.abc import Callable, Sequence

from flows.steps import Document

FIGURES = ("auc", "f1", "far", "mar", "brier", "calibration_error", "agreement", "same_class")


def summary(draws: Sequence[Document]) -> list[Document]:
    """Mean, least and greatest of each figure, by retraining and pair.

    Args:
        draws: Each with `retraining` and its `pairs`, as `models.trace_measure` measured them.

    Returns:
        A row each, in order of first use; a figure is None where a draw has none.
    """
    rows: dict[tuple[str, int, int], list[Document]] = {}
    for draw in draws:
        for pair in draw["pairs"]:
            key = (draw["retraining"], pair["upstream"], pair["downstream"])
            rows.setdefault(key, []).append(pair)
    return [_row(retraining, pairs) for (retraining, _, _), pairs in rows.items()]


def _row(retraining: str, pairs: Sequence[Document]) -> Document:
    first = pairs[0]
    faults = [name for name in first["by_class"] if all(name in pair["by_class"] for pair in pairs)]
    return {
        "retraining": retraining,
        "draws": len(pairs),
        **{name: first[name] for name in ("upstream", "downstream", "matched")},
        **{name: _range([pair[name] for pair in pairs]) for name in FIGURES},
        "auc_change": _range([(pair["auc_change"] or {}).get("change") for pair in pairs]),
        "raised": _range([pair["raised"] for pair in pairs]),
        "dropped": _range([pair["dropped"] for pair in pairs]),
        "by_class": {name: _range([pair["by_class"][name] for pair in pairs]) for name in faults},
        "handshake": ", ".join(dict.fromkeys(pair["handshake"] for pair in pairs)),
    }


def _range(values: Sequence[float | None]) -> Document | None:
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return None
    return {"mean": sum(known) / len(known), "low": min(known), "high": max(known)}


HEADINGS: tuple[tuple[str, Callable[[Document], str]], ...] = (
    ("AUC", lambda row: spread(row["auc"], 3)),
    ("AUC change", lambda row: spread(row["auc_change"], 3, sign="+")),
    ("false alarms %", lambda row: spread(row["far"], 2)),
    ("missed %", lambda row: spread(row["mar"], 1)),
    ("decisions changed %", lambda row: spread(changed(row), 2)),
    ("Brier", lambda row: spread(row["brier"], 4)),
    ("calibration error", lambda row: spread(row["calibration_error"], 4)),
    ("handshake", lambda row: str(row["handshake"])),
)
"""Heading -> what stands in a row of the summary, in order."""


def changed(row: Document) -> Document:
    """Percent of decisions that are not those of the row's match."""
    agreement = row["agreement"]
    return {
        "mean": 100 * (1 - agreement["mean"]),
        "low": 100 * (1 - agreement["high"]),
        "high": 100 * (1 - agreement["low"]),
    }


def spread(figure: Document | None, digits: int, sign: str = "") -> str:
    """A mean, and the range over draws where there are several; a dash where there is no figure."""
    if figure is None:
        return "-"
    mean, low, high = (
        format(figure[name], f"{sign}.{digits}f") for name in ("mean", "low", "high")
    )
    return mean if low == high else f"{mean} ({low} to {high})"


def named(document: Document, row: Document) -> str:
    """A pair in words: `encoder v2, classifier v1` for a classifier that learned from v1."""
    downstream = document["downstream"]
    rest = downstream[0] if len(downstream) == 1 else "the rest"
    return f"{document['stage']} v{row['upstream']}, {rest} v{row['downstream']}"


def cells(document: Document) -> list[dict[str, str]]:
    """The table of a trace: a row a pair."""
    return [
        {
            "retraining": str(row["retraining"]),
            "pair": named(document, row),
            **{heading: cell(row) for heading, cell in HEADINGS},
        }
        for row in document["summary"]
    ]


def faults(document: Document, retraining: str) -> list[dict[str, str]]:
    """AUC by fault of a retraining: a row a fault, a column a pair."""
    rows = [row for row in document["summary"] if row["retraining"] == retraining]
    return [
        {"fault": name, **{named(document, row): spread(row["by_class"][name], 3) for row in rows}}
        for name in rows[0]["by_class"]
    ]


def told(document: Document, retraining: str) -> str:
    """What a retraining is, in a sentence."""
    entity = document["entity"]
    draws = [draw for draw in document["draws"] if draw["retraining"] == retraining]
    share = f"1/{draws[0]['parts']}"
    if draws[0]["grows"] == "time":
        seen = f"Version 1 was trained on the first {share} of every {entity}'s training time"
        return f"{seen}, version 2 on all of it."
    return (
        f"Version 1 was trained on {share} of the {entity}s that train, version 2 on all of them; "
        f"{len(draws)} such parts, each in turn."
    )
