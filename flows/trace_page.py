"""The page of a trace: one file of HTML that asks for nothing from anywhere."""

from html import escape

from flows.steps import Document
from flows.trace_summary import cells, faults, told

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 68rem; color: #222 }
table { border-collapse: collapse; margin: 1rem 0; font-size: 13px }
th, td { border-bottom: 1px solid #d9d9d9; padding: .3rem .6rem; text-align: left }
td { font-variant-numeric: tabular-nums } svg { width: 100%; height: auto }
""".strip()


def page(document: Document, picture: str) -> str:
    """A trace as a page: what was done, the picture, the figures, and what the handshake says.

    Args:
        document: As `flows.trace` makes it.
        picture: The SVG of `flows.trace_plot.plot`.
    """
    name, stage = escape(document["ensemble"]), escape(document["stage"])
    retrainings = list(dict.fromkeys(draw["retraining"] for draw in document["draws"]))
    body = [
        f"<h1>Trace of {name}</h1>",
        f"<p>The stage <b>{stage}</b> was trained twice, and the stages that read it on the "
        "outputs of each version, on the same rows, with the same labels and seed; v1 and v2 of "
        "these is what they learned from. All four pairs "
        f"then scored the same {document['rows']:,} held-out rows, {document['faulty']:,} of "
        "them faulty. A change is always against the pair whose later stages are the same and "
        "hear the version they learned from.</p>",
        *(
            f"<p><b>{escape(retraining)}</b>: {escape(told(document, retraining))}</p>"
            for retraining in retrainings
        ),
        picture,
        "<h2>Every pair</h2><p>Mean, and least and greatest over the draws.</p>",
        _table(cells(document)),
    ]
    for retraining in retrainings:
        rows = faults(document, retraining)
        if rows:
            body += [f"<h2>AUC by fault: {escape(retraining)}</h2>", _table(rows)]
    body += ["<h2>What the handshake says</h2>", _refusals(document)]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>Trace of {name}</title><style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def _refusals(document: Document) -> str:
    """The breaches of the first draw's mixed pairs, as they would be told."""
    told_of = [
        f"<li><b>{breach['code']}</b> {escape(breach['where'])}: {escape(breach['found'])}. "
        f"To mend: {escape(breach['mend'])}.</li>"
        for pair in document["draws"][0]["pairs"]
        for breach in pair["breaches"]
    ]
    return f"<ul>{''.join(told_of)}</ul>"


def _table(rows: list[dict[str, str]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in rows[0])
    lines = "".join(
        f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row.values())}</tr>" for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>"
