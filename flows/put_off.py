"""A slow import of Prefect's, put off until something needs it.

Prefect imports jsonschema, which imports rfc3987_syntax where it is installed: to validate IRIs,
which Prefect never does. It builds 39 parsers while it is imported, and takes half of the time in
which a run and its server start.
"""

import sys
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

_NAME = "rfc3987_syntax"


class PutOff(ModuleType):
    """Stands in for rfc3987_syntax, and gives way to it when the first IRI is validated."""

    def is_valid_syntax(self, term: str, value: str) -> bool:
        """Whether a value is what a term of RFC 3987 says, told by the module itself."""
        if sys.modules.get(_NAME) is self:
            del sys.modules[_NAME]
        return bool(import_module(_NAME).is_valid_syntax(term, value))


def put_off() -> None:
    """Take the module's place where it is installed, unless it has been imported."""
    spec = None if _NAME in sys.modules else find_spec(_NAME)
    if spec is not None:
        stand_in = PutOff(_NAME)
        stand_in.__spec__ = spec
        sys.modules[_NAME] = stand_in
