"""One root, four families by who must act; every error says what was found, where, and the mend."""


class FirnlineError(Exception):
    """Something a person must act on.

    Args:
        code: Stable identifier, documented in docs/errors.md.
        found: What was found, with the offending value.
        where: The file, column, step or rule it was found in.
        mend: What to do about it.
    """

    def __init__(self, code: str, *, found: str, where: str, mend: str) -> None:
        self.code = code
        self.found = found
        self.where = where
        self.mend = mend
        super().__init__(f"[{code}] {where}: {found}. To mend: {mend}")

    def __reduce__(self) -> tuple[object, tuple[type["FirnlineError"], str, str, str, str]]:
        """Survive pickling: keyword-only arguments do not by default."""
        return _rebuild, (type(self), self.code, self.found, self.where, self.mend)

    def document(self) -> dict[str, str]:
        """The error as `--json` prints it."""
        return {
            "family": type(self).__name__,
            "code": self.code,
            "found": self.found,
            "where": self.where,
            "mend": self.mend,
        }


def _rebuild(
    kind: type[FirnlineError], code: str, found: str, where: str, mend: str
) -> FirnlineError:
    return kind(code, found=found, where=where, mend=mend)


class ContractError(FirnlineError):
    """The data owner must act: readings, labels or a snapshot break their contract."""


class HandshakeError(FirnlineError):
    """The ML engineer must act: manifest, features, recipes or stages do not fit together."""


class EvidenceError(FirnlineError):
    """The release owner must act: a parity, shadow or drift gate did not pass."""


class DeliveryError(FirnlineError):
    """The edge team must act: a bundle or its delivery is not whole."""
