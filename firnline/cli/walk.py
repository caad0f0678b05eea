"""`firnline walk`: from one answer of a device to its raw readings, every digest compared."""

import sys
from pathlib import Path

from rich.text import Text
from rich.tree import Tree

from firnline.cli.show import plain, print_json, screen
from flows.walk_links import Link, Walk

_MARKS = {"holds": ("ok", "green"), "broken": ("broken", "red"), "unseen": ("not seen", "yellow")}
_DIGITS = 12


def walk_answer(answer: str, log: Path, channel: Path | None, *, as_json: bool) -> None:
    """Show every link from an answer to its readings; exit 1 when one does not hold.

    Args:
        answer: Its id or the first digits of it, its request, or `newest`.
        log: A device's score log, or one segment of it.
        channel: The channel's folder; the project's own when not given.
        as_json: Print one document instead of a tree.

    Raises:
        DeliveryError: W1, the log holds no such answer; U34, a segment of it was altered.
    """
    from flows.walk import walk

    found = walk(log, answer, channel)
    if as_json:
        print_json(found.document())
    else:
        screen().print(tree(found))
        screen().print(_told(found))
    sys.exit(0 if found.whole else 1)


def tree(walk: Walk) -> Tree:
    """The walk as a tree: a branch a link, its digests and lines below it."""
    record = walk.answer
    verdict = f"{'flagged' if record.get('flagged') else 'not flagged'} {record.get('fault') or ''}"
    told = f" of {record.get('device')}: score {record.get('score')}, {verdict}"
    root = Tree(Text.assemble((plain(f"answer {record.get('answer')}"), "bold"), plain(told)))
    for link in walk.links:
        branch = root.add(_line(link))
        for name, digest in link.seen.digests.items():
            branch.add(Text.assemble((f"#{digest[:_DIGITS]}", "cyan"), f"  {name}"))
        for line in link.seen.details:
            branch.add(Text(plain(line), style="dim"))
        if link.error is not None:
            branch.add(Text.assemble(("where  ", "bold"), plain(link.error.where)))
            branch.add(Text.assemble(("mend   ", "bold"), plain(link.error.mend)))
    return root


def _line(link: Link) -> Text:
    word, colour = _MARKS[link.mark]
    code = f" {link.error.code}" if link.error else ""
    return Text.assemble(
        (f"{word}{code}", colour), "  ", (link.name, "bold"), plain(f"  {link.seen.found}")
    )


def _told(walk: Walk) -> Text:
    broken = [link.name for link in walk.links if link.mark == "broken"]
    if walk.whole:
        return Text(f"\nevery link holds: {len(walk.links)} of {len(walk.links)}", style="green")
    return Text(f"\nit breaks at: {', '.join(broken)}", style="red")
