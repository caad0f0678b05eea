"""Inputs that once ended in another error than one of the project's own, and what was wrong."""

import json
from typing import Any

from firnline.digest import digest
from tests.fuzz.inputs import HEADER

SEALED = bytes([0, 1])
_TARGETS = bytes([3, 1])
_BASE = 'url = "http://h"\nensemble = "s"\ntrack = "stable"\ntarget = "cpu"\ndevice = "d"\n'


def _json(header: bytes, document: Any) -> bytes:
    return header + json.dumps(document).encode()


def _toml(line: str) -> bytes:
    root = "" if line.startswith("root") else 'root = "r"\n'
    return bytes(HEADER) + f"{_BASE}{root}{line}\n".encode()


def _npy(shape: str) -> bytes:
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({shape}), }}\n".encode()
    return bytes(HEADER) + b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


def _targets(keys: dict[str, Any], keyids: list[Any], name: str = "mcu") -> bytes:
    role = {"name": name, "keyids": keyids, "threshold": 1, "terminating": True, "paths": []}
    signed = {
        "_type": "targets",
        "spec_version": "1.0.31",
        "version": 1,
        "expires": "2027-01-01T00:00:00Z",
        "targets": {},
        "delegations": {"keys": keys, "roles": [role]},
    }
    return _json(_TARGETS, {"signatures": [], "signed": signed})


def _assignment(**fields: Any) -> bytes:
    whole = {
        "format": "firnline-assignment/1",
        "ensemble": "small",
        "track": "stable",
        "version": 1,
        "salt": "s",
        "waves": [[1.0, "0" * 64]],
        "pins": {"0" * 64: {}},
        "reason": "",
        "previous": "",
    }
    return _json(bytes(HEADER), {**whole, **fields})


def _bundle(**fields: Any) -> bytes:
    whole = {
        "format": "firnline-bundle/4",
        "kind": "device",
        "name": "small",
        "target": "cpu-x86_64",
        "release": digest(["small", 1, 1]),
        "files": {},
        "bytes": {},
        "stages": [],
    }
    return _json(SEALED, {**whole, **fields})


def _state(**fields: Any) -> bytes:
    whole = {
        "format": "firnline-agent-state/1",
        "slots": {},
        "active": None,
        "boots": 0,
        "refused": [],
        "attempt": None,
        "assigned": "",
        "floors": {},
        "clock_floor": None,
        "polled": None,
    }
    return _json(SEALED, {**whole, **fields})


_ODD = {"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": "no hex"}}
REGRESSIONS: dict[str, tuple[str, bytes]] = {
    "a stage that is no object": ("bundle", _bundle(stages=["encoder"])),
    "a key of a role that is not listed": ("metadata", _targets({}, ["0" * 64])),
    "a public key that is no hex": ("metadata", _targets({"0" * 64: _ODD}, ["0" * 64])),
    "key ids of two types": ("metadata", _targets({}, ["0" * 64, 1], "stable")),
    "half a character to hash": ("assignment", _assignment(salt="\ud800")),
    "half a character to print": ("assignment", _assignment(reason="\udfff")),
    "a time before all years": ("state", _state(clock_floor="0001-01-01T00:00:00+14:00")),
    "more dimensions than there can be": ("npy", _npy("0, " * 65)),
    "nothing, four times without bounds": ("npy", _npy("0, 999999999, 999999999, 999999999, ")),
    "a number beyond floats": ("config", _toml(f"poll_seconds = {'9' * 400}")),
    "a number beyond what is read": ("config", _toml(f"poll_seconds = {'9' * 5000}")),
    "a bound beyond floats": ("config", _toml(f"[limits]\nmax_release_bytes = -{'9' * 400}")),
    "brackets without end": ("config", _toml(f"x = {'[' * 5000}")),
    "the home of nobody": ("config", _toml('root = "~nobody-of-that-name/root.json"')),
}
"""What was wrong -> harness and input."""
