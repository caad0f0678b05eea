"""A rule that does not hold, as a value: checks gather them all, and only then refuse."""

from collections.abc import Sequence
from dataclasses import dataclass

from firnline.errors import HandshakeError


@dataclass(frozen=True, order=True)
class Breach:
    """One broken rule.

    Attributes:
        code: Stable identifier, documented in docs/errors.md.
        found: What was found, with the offending value.
        where: The version, stage, file or line it was found in.
        mend: What to do about it.
    """

    code: str
    found: str
    where: str
    mend: str

    def document(self) -> dict[str, str]:
        """The breach as `--json` prints it."""
        return {"code": self.code, "found": self.found, "where": self.where, "mend": self.mend}


def refuse(breaches: Sequence[Breach], where: str) -> None:
    """Raise one error that tells every breach at once, like a compiler; none, no error.

    Args:
        breaches: What does not hold; the first gives the error its code.
        where: The place that refuses.

    Raises:
        HandshakeError: With the first breach's code, when there is a breach.
    """
    if not breaches:
        return
    first = breaches[0]
    if len(breaches) == 1:
        raise HandshakeError(
            first.code, found=first.found, where=f"{where}: {first.where}", mend=first.mend
        )
    raise HandshakeError(
        first.code,
        found="; ".join(f"[{item.code}] {item.where}: {item.found}" for item in breaches),
        where=where,
        mend="; ".join(dict.fromkeys(item.mend for item in breaches)),
    )
