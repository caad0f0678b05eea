"""The text of features.lock: lines that verify themselves, and all that is wrong with them."""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from firnline.contracts.breach import Breach, refuse
from firnline.contracts.differences import differences
from firnline.contracts.features import parse_reference
from firnline.digest import canonical_json, digest, short
from firnline.errors import HandshakeError

_LINE = re.compile(r"(?P<reference>\S+) (?P<digest>[0-9a-f]{64}) (?P<record>\{.*\})")
_CONFLICT = ("<<<<<<<", "=======", ">>>>>>>", "|||||||")


@dataclass(frozen=True)
class Line:
    """One published version.

    Attributes:
        reference: `device_window@v1`.
        digest: sha256 of the record.
        record: What the version means.
    """

    reference: str
    digest: str
    record: dict[str, Any] = field(hash=False)

    @property
    def table(self) -> str:
        """The version baked into a name, as Feast's view has it: `device_window_v1`."""
        return self.reference.replace("@", "_")

    @property
    def label(self) -> str:
        """How the version prints: `device_window@v1#9f2c1a`."""
        return f"{self.reference}#{short(self.digest)}"

    @property
    def order(self) -> tuple[str, int]:
        """Where the line stands: by name, then by version number."""
        return parse_reference(self.reference)

    def text(self) -> str:
        """The line as the file holds it, without its newline."""
        return f"{self.reference} {self.digest} {canonical_json(self.record)}"


@dataclass(frozen=True)
class Lock:
    """Published versions, in the order of name and version number.

    Attributes:
        lines: One a version.
        head: Comments and blank lines above them, each with its newline.
    """

    lines: tuple[Line, ...] = ()
    head: str = ""

    def __iter__(self) -> Iterator[Line]:
        return iter(self.lines)

    def __len__(self) -> int:
        return len(self.lines)

    def get(self, reference: str) -> Line | None:
        """The line of `name@vN`; None when it is not published."""
        return next((line for line in self.lines if line.reference == reference), None)

    def digests(self) -> dict[str, str]:
        """Reference -> digest of every published version, as the handshake takes them."""
        return {line.reference: line.digest for line in self.lines}

    def by_table(self, table: str) -> Line | None:
        """The line of `name_vN`, as Feast names the view; None when it is not published."""
        return next((line for line in self.lines if line.table == table), None)


def examine(text: str, where: str) -> tuple[Lock, tuple[Breach, ...]]:
    """Read a lock as far as it can be read, and say all that is wrong with it.

    Args:
        text: The whole file.
        where: Its name, for the breaches.

    Returns:
        Every version that has one whole line, sorted, where two disagree the first; and the
        breaches of L2 to L5 by line.
    """
    head, numbered = _split(text)
    breaches: list[Breach] = []
    lines: dict[str, Line] = {}
    before: Line | None = None
    for number, written in numbered:
        place = f"{where}, line {number}"
        line = _read(written, place)
        if isinstance(line, Breach):
            breaches.append(line)
            continue
        if line.reference in lines:
            breaches.append(_twice(lines[line.reference], line, place))
        elif before is not None and line.order < before.order:
            breaches.append(_unsorted(line, before, place))
        lines.setdefault(line.reference, line)
        before = line
    if text and not text.endswith("\n"):
        breaches.append(
            Breach(
                "L2",
                "the last line has no newline, so a merge would write another behind it",
                where,
                "end the file with a newline",
            )
        )
    return Lock(in_order(lines.values()), head), tuple(breaches)


def parse(text: str, where: str) -> Lock:
    """Read a whole lock.

    Args:
        text: The whole file.
        where: Its name, for the error.

    Raises:
        HandshakeError: L2 to L5, every breach at once.
    """
    lock, breaches = examine(text, where)
    refuse(breaches, "the feature lock")
    return lock


def tidied(text: str) -> str:
    """The text with its lines sorted and each once, as a union of two branches may leave them.

    Lines are only moved: what is wrong inside of one stays, for `examine` to find.
    """
    head, numbered = _split(text)
    lines = sorted(dict.fromkeys(written for _, written in numbered), key=_place)
    return head + "".join(f"{written}\n" for written in lines)


def _place(written: str) -> tuple[str, int]:
    reference = written.partition(" ")[0]
    try:
        return parse_reference(reference)
    except HandshakeError:
        return reference, 0


def render(lock: Lock) -> str:
    """The file of a lock: the same bytes for the same versions, in whatever order they came."""
    return lock.head + "".join(f"{line.text()}\n" for line in in_order(lock.lines))


def in_order(lines: Iterable[Line]) -> tuple[Line, ...]:
    """Lines by name and version number."""
    return tuple(sorted(lines, key=lambda line: line.order))


def _split(text: str) -> tuple[str, list[tuple[int, str]]]:
    """The comments above, and the lines below with their numbers."""
    # Not splitlines(): a record's text may hold characters that Unicode counts as line ends.
    lines = text.removesuffix("\n").split("\n") if text else []
    count = next(
        (place for place, line in enumerate(lines) if line.strip() and not line.startswith("#")),
        len(lines),
    )
    head = "".join(f"{line}\n" for line in lines[:count])
    return head, list(enumerate(lines[count:], start=count + 1))


def _read(written: str, where: str) -> Line | Breach:
    """One line, or what is wrong with it."""
    found = _LINE.fullmatch(written)
    if found is None:
        return _unreadable(written, where)
    try:
        parse_reference(found["reference"])
        record = json.loads(found["record"])
        canonical = canonical_json(record) == found["record"]
    except (HandshakeError, ValueError, RecursionError) as error:
        mend = "put the line back as it was published"
        return Breach("L2", f"{_start(written)}: {getattr(error, 'found', error)}", where, mend)
    line = Line(found["reference"], found["digest"], record)
    if not canonical or digest(record) != line.digest:
        return Breach(
            "L3",
            f"{line.label}: its record has the digest #{short(digest(record))}"
            if canonical
            else f"{line.label}: its record is not in canonical form, so it was edited",
            where,
            "put the line back as it was published; no line is written by hand",
        )
    return line if stands_under(line) else not_of(line, where)


def _unreadable(written: str, where: str) -> Breach:
    if written.startswith(_CONFLICT):
        told, mend = "a merge was left open here", "keep the lines of both sides, then: "
        return Breach("L2", told, where, f"{mend}firnline lock add")
    if not written.strip() or written.startswith("#"):
        told = "a blank line or comment stands among the versions"
        return Breach("L2", told, where, "move it above the first version, or take it out")
    if written.endswith("\r"):
        told, mend = "lines end as on Windows", "check it out with line feeds: .gitattributes"
        return Breach("L2", told, where, f"{mend} says features.lock merge=union text eol=lf")
    told = f"{_start(written)} is no `<reference> <sha256> <record>`"
    return Breach("L2", told, where, "put the line back as it was published")


def _start(written: str) -> str:
    return repr(written if len(written) <= 40 else f"{written[:40]}...")


def stands_under(line: Line) -> bool:
    """Whether a line's record is of the reference it stands under."""
    record = line.record
    return (record.get("name"), record.get("version")) == line.order


def not_of(line: Line, where: str) -> Breach:
    """The breach of a record that stands under another reference."""
    own = f"{line.record.get('name')}@v{line.record.get('version')}"
    return Breach(
        "L2",
        f"{line.label} holds the record of {own}",
        where,
        "put the line back as it was published",
    )


def _twice(first: Line, second: Line, where: str) -> Breach:
    if first == second:
        told = f"{first.label} stands here twice"
        return Breach("L5", told, where, "run: firnline lock add, which keeps one")
    words = ", ".join(differences(first.record, second.record))
    name, number = first.order
    return Breach(
        "L5",
        f"{first.reference} is published as #{short(first.digest)} and as "
        f"#{short(second.digest)}: {words}",
        where,
        f"take out the line that was merged last, and publish its view as {name}@v{number + 1} "
        "or the next free version",
    )


def _unsorted(line: Line, before: Line, where: str) -> Breach:
    told = f"{line.reference} stands below {before.reference}"
    return Breach("L4", told, where, "run: firnline lock add, which sorts the lines")
