"""What a check found, and the three ways it can end."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from firnline.errors import FirnlineError


@dataclass(frozen=True)
class Finding:
    """One thing looked at.

    Attributes:
        name: What, such as `stage encoder: outputs`.
        good: False when someone must act.
        found: What was found, with the code of the rule where there is one.
        mend: What to do when it is not good, or why it was not tried.
        tried: False when it could not be looked at; it is then neither proved nor broken.
    """

    name: str
    good: bool
    found: str
    mend: str = ""
    tried: bool = True


def ok(name: str, found: str) -> Finding:
    """It holds."""
    return Finding(name, True, found)


def no(name: str, found: str, mend: str) -> Finding:
    """It does not hold."""
    return Finding(name, False, found, mend)


def untried(name: str, why: str, mend: str = "") -> Finding:
    """It could not be looked at."""
    return Finding(name, True, f"not tried: {why}", mend, tried=False)


def refused(name: str, error: FirnlineError) -> Finding:
    """It does not hold, as one of our errors says."""
    return no(name, f"[{error.code}] {error.found}", error.mend)


class Findings(list[Finding]):
    """Findings in the order of the checks."""

    @contextmanager
    def trying(self, name: str, mend: str) -> Iterator[None]:
        """Turn whatever the body raises into a finding: the code under check is not ours."""
        try:
            yield
        except FirnlineError as error:
            self.append(refused(name, error))
        except Exception as error:
            self.append(no(name, f"{type(error).__name__}: {error}", mend))

    @property
    def good(self) -> bool:
        """Nothing asks anyone to act."""
        return all(finding.good for finding in self)

    def broken(self, *names: str) -> bool:
        """Whether one of these did not hold, or was not tried."""
        return any(
            finding.name in names and not (finding.good and finding.tried) for finding in self
        )
