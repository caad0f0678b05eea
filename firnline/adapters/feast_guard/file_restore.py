"""Puts published objects back: `python -m firnline.adapters.feast_guard.file_restore PATH ...`."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from feast.protos.feast.core.Registry_pb2 import Registry as RegistryMessage
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # it ships none

from firnline.adapters.artifact_store import locked
from firnline.adapters.feast_guard import published_file
from firnline.adapters.feast_guard.file_rules import not_as_published
from firnline.adapters.feast_guard.registry_disk import (
    RegistryDisk,
    empty_registry,
    write_through,
)
from firnline.adapters.feast_guard.registry_objects import entries, put_back


def restore(path: Path) -> list[str]:
    """Put every published object back into a registry file that lost or altered it.

    What else the file holds is kept as far as it can be read; the file as it was found is kept
    beside it as `<name>.found`.

    Args:
        path: The registry file, whether it is there or not.

    Returns:
        What was put back, in words; empty when all was as published.

    Raises:
        HandshakeError: G23 when the record of what it published is damaged.
    """
    disk = RegistryDisk(path)
    with locked(disk.flock):
        published = published_file.read(disk.record)
        registry = _found(path)
        words = not_as_published(published.entries, entries(registry))
        put_back(registry, published.entries)
        disk.write(registry, published, [])
    return words


def _found(path: Path) -> Any:
    if not path.exists():
        return empty_registry()
    content = path.read_bytes()
    write_through(path.with_name(f"{path.name}.found"), content)
    try:
        return RegistryMessage.FromString(content)
    except DecodeError:
        return empty_registry()


def main(arguments: Sequence[str]) -> int:
    """Put published objects back into the registry files that are named."""
    for name in arguments:
        for words in restore(Path(name)) or ["all is as it was published"]:
            print(f"{name}: {words}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
