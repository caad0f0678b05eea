"""What differs between two records of feature versions, in words a person can act on."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from firnline.contracts.features import DATA_SCHEME
from firnline.digest import canonical_json, short

# A version's own name and place follow from its number: they differ without meaning anything.
_NAMES = ("name", "version")
# A key that a record does not have, told apart from one that holds null.
_ABSENT = object()


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What differs between two records, one phrase each; empty when they mean the same.

    Args:
        old: A record as `WindowView.record` or `StageOutputs.record` give it.
        new: Another. Names, version numbers and the places that follow from them do not count.

    Returns:
        Such as `ttl_seconds 3600 -> 7200`, `feature x: float64 -> float32`, `features in another
        order`, `transformation: transforms.aggregation changed`, `source path a -> b`.
    """
    before, after = ({k: v for k, v in each.items() if k not in _NAMES} for each in (old, new))
    if _lies_at_its_own_place(old) and _lies_at_its_own_place(new):
        before["source"], after["source"] = (
            {**each["source"], "path": None} for each in (before, after)
        )
    words: list[str] = []
    for key in dict.fromkeys((*before, *after)):
        was, now = before.get(key, _ABSENT), after.get(key, _ABSENT)
        if not _same(was, now):
            # Values of a shape nobody foresaw differ all the same, and are told as they stand.
            words += _WORDS.get(key, _plain)(key, was, now) or _plain(key, was, now)
    return words


def _same(was: Any, now: Any) -> bool:
    if was is _ABSENT or now is _ABSENT:
        return was is now
    return canonical_json(was) == canonical_json(now)


def _lies_at_its_own_place(record: Mapping[str, Any]) -> bool:
    source = record.get("source")
    own = f"{DATA_SCHEME}{record.get('name')}_v{record.get('version')}"
    return isinstance(source, Mapping) and source.get("path") == own


def _plain(key: str, was: Any, now: Any) -> list[str]:
    """Two values of any shape: a mapping by its keys, anything else as it stands."""
    if isinstance(was, Mapping) and isinstance(now, Mapping):
        return [
            word
            for name in dict.fromkeys((*was, *now))
            if not _same(was.get(name, _ABSENT), now.get(name, _ABSENT))
            for word in _plain(f"{key} {name}", was.get(name, _ABSENT), now.get(name, _ABSENT))
        ]
    return [f"{key} {_value(was)} -> {_value(now)}"]


def _value(value: Any) -> str:
    if value is _ABSENT:
        return "none"
    return value if isinstance(value, str) and value else canonical_json(value)


def _fields(key: str, was: Any, now: Any) -> list[str]:
    try:
        before, after = dict(was), dict(now)
        named = len(before) == len(was) and len(after) == len(now)
    except (TypeError, ValueError):
        named = False
    if not named:
        return _plain(key, was, now)
    words = [f"feature {name} removed" for name in before if name not in after]
    words += [f"feature {name} added" for name in after if name not in before]
    words += [
        f"feature {name}: {_value(before[name])} -> {_value(after[name])}"
        for name in before
        if name in after and not _same(before[name], after[name])
    ]
    kept = [name for name in before if name in after]
    moved = [name for name in after if name in before]
    if kept != moved:
        place = next(n for n, pair in enumerate(zip(kept, moved, strict=True)) if len({*pair}) > 1)
        words.append(f"features in another order, {moved[place]} before {kept[place]}")
    return words


def _entities(key: str, was: Any, now: Any) -> list[str]:
    try:
        before = {entity["name"]: entity for entity in was}
        after = {entity["name"]: entity for entity in now}
        named = len(before) == len(was) and len(after) == len(now)
    except (TypeError, KeyError):
        named = False
    if not named:
        return _plain(key, was, now)
    words = [f"entity {name} removed" for name in before if name not in after]
    words += [f"entity {name} added" for name in after if name not in before]
    for name in before:
        if name in after and not _same(before[name], after[name]):
            words += _plain(f"entity {name}", before[name], after[name])
    return words or [f"entities in another order: {', '.join(map(str, after))}"]


def _transformation(key: str, was: Any, now: Any) -> list[str]:
    if not (isinstance(was, Mapping) and isinstance(now, Mapping)):
        return _plain(key, was, now)
    words = []
    if was.get("root") != now.get("root"):
        words.append(f"{key} {_value(was.get('root'))} -> {_value(now.get('root'))}")
    words += [
        f"{key}: {label} {what}"
        for label, what in _labels(was.get("definitions"), now.get("definitions"))
    ]
    words += [
        f"{key}: import of {name} {what}"
        for name, what in _labels(_counted(was.get("imports")), _counted(now.get("imports")))
    ]
    return words


def _labels(was: Any, now: Any) -> Iterator[tuple[str, str]]:
    before = was if isinstance(was, Mapping) else {}
    after = now if isinstance(now, Mapping) else {}
    for label in dict.fromkeys((*before, *after)):
        if label not in after:
            yield label, "removed"
        elif label not in before:
            yield label, "added"
        elif before[label] != after[label]:
            yield label, "changed"


def _counted(names: Any) -> dict[str, int]:
    listed = names if isinstance(names, Sequence) else ()
    return {str(name): listed.count(name) for name in listed}


def _digested(key: str, was: Any, now: Any) -> list[str]:
    if isinstance(was, str) and isinstance(now, str) and short(was) != short(now):
        return [f"{key} #{short(was)} -> #{short(now)}"]
    return _plain(key, was, now)


def _reads(key: str, was: Any, now: Any) -> list[str]:
    if not (isinstance(was, Mapping) and isinstance(now, Mapping)):
        return _plain(key, was, now)
    words = [f"no longer reads {name}" for name in was if name not in now]
    words += [f"reads {name}#{short(str(now[name]))} too" for name in now if name not in was]
    for name in was:
        if name in now and was[name] != now[name]:
            words += _digested(f"reads {name}", was[name], now[name])
    return words


_WORDS = {
    "fields": _fields,
    "entities": _entities,
    "transformation": _transformation,
    "model": _digested,
    "reads": _reads,
}
