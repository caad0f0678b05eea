"""A decision: what was concluded, by which rules, from which inputs."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from firnline.digest import digest


@dataclass(frozen=True)
class Decision:
    """One verdict, as the ledger keeps it and a Prefect artifact shows it.

    Attributes:
        kind: Which gate decided: `parity`, `shadow`, `drift`, `window`.
        subject: What it decided about, usually an ensemble's name.
        verdict: The outcome in one word, such as `accept`.
        reason: One sentence a release owner understands.
        rules: Codes of the rules that decided.
        numbers: The figures the rules looked at, units in the names.
        inputs: Name -> digest of everything that was read.
    """

    kind: str
    subject: str
    verdict: str
    reason: str
    rules: tuple[str, ...] = ()
    numbers: Mapping[str, float | int | str | bool | None] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """The decision as JSON, with its own digest."""
        body = asdict(self)
        body["rules"] = list(self.rules)
        return {**body, "digest": digest(body)}
