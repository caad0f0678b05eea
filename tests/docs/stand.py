"""A project with a channel to follow the pages in: two small releases, and a device."""

import json
from dataclasses import replace
from pathlib import Path

from edge.pack import Contents, pack
from firnline.adapters.lock_file import read_lock, shipped_lock_path
from firnline.digest import tree_digest
from tests.docs.shell import Shell
from tests.edge import small_bundles

ENSEMBLE, MCU = "refrigeration", "mcu-cortex-m4"
BUNDLES = Path(".firnline/artifacts/refrigeration/export")
_CONFIG = """\
url = "{url}"
ensemble = "refrigeration"
track = "stable"
target = "cpu-x86_64"
device = "unit-7"
root = "root.json"
state = "state"
"""


def bundles(folder: Path) -> None:
    """Two releases of `refrigeration`, as two runs would have left them; the first is the last."""
    line = next(iter(read_lock(shipped_lock_path())))
    before, small_bundles.VIEW = small_bundles.VIEW, {line.reference: line.digest}
    try:
        for number, slope in enumerate((1.0, 0.5), 1):
            pack(folder / BUNDLES / str(number) / "bundle", _contents(slope))
    finally:
        small_bundles.VIEW = before
    ran(folder, 1)


def ran(folder: Path, number: int) -> None:
    """What `firnline run refrigeration` leaves, when it made one of these bundles."""
    bundle = folder / BUNDLES / str(number) / "bundle"
    document = {"bundle": {"path": str(bundle), "digest": tree_digest(bundle)}}
    path = folder / ".firnline" / "runs" / f"{ENSEMBLE}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))


def device(shell: Shell, url: str, root: bytes) -> Path:
    """A device of the stable track, configured and up to date; gives its agent.toml."""
    folder = shell.project.folder / "device"
    folder.mkdir()
    (folder / "root.json").write_bytes(root)
    (folder / "agent.toml").write_text(_CONFIG.format(url=url))
    shell.agent("pull", "--config", str(folder / "agent.toml"))
    return folder / "agent.toml"


def release_on(shell: Shell, config: Path) -> str:
    """The release that a device runs, once it has polled."""
    return str(json.loads(shell.agent("pull", "--json", "--config", str(config)))["release"])


def _contents(slope: float) -> Contents:
    whole = small_bundles.contents(slope=slope)
    facts = replace(whole.facts, ensemble=ENSEMBLE)
    return small_bundles.with_firmware(replace(whole, name=ENSEMBLE, facts=facts))
