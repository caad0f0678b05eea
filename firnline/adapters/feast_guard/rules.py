"""What may not happen to a published object, as rules over meanings: values in, breaches out.

Published is a view with a line in features.lock. So is a service that reads a published view, and
whatever either of them stands on: were that to change, the values under the same name would.

| code | broken when |
|---|---|
| G1 | a published view would mean something else |
| G2 | a published view would be removed |
| G3 | a view with a line in features.lock is not what the line records |
| G4 | a service that reads a published version would read something else |
| G5 | such a service would be removed |
| G6 | an entity or a data source under a published version would change or be removed |
| G9 | a registry does not hold what it published: it was changed past the guard |
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from firnline.adapters.feast_guard.meaning import Meaning, reads_of, rests_on
from firnline.contracts.breach import Breach
from firnline.contracts.features import table_name
from firnline.digest import canonical_json

_VERSIONED = re.compile(r"(.+)_v([1-9][0-9]*)\Z")
_FAMILY = {"FeatureService": "service", "DataSource": "source", "Entity": "entity"}
_CODES = {"view": ("G1", "G2"), "service": ("G4", "G5")}
_UNDER = ("G6", "G6")
_NOUNS = {"source": "data source"}


class Key(NamedTuple):
    """What is under one name in a project: views of every kind share theirs."""

    family: str
    name: str

    def __str__(self) -> str:
        return f"{_NOUNS.get(self.family, self.family)} {self.name}"


class Record(NamedTuple):
    """A line of the lock, as far as the rules need it."""

    reference: str
    digest: str
    record: Mapping[str, Any]


@dataclass(frozen=True)
class Rules:
    """What is published, and by which lines.

    Attributes:
        lines: Feast's name of a version -> its line in the lock.
        published: What a registry has published so far.
    """

    lines: Mapping[str, Record] = field(default_factory=dict)
    published: Mapping[Key, Meaning] = field(default_factory=dict)


def key_of(record: Meaning) -> Key:
    """The name an object takes up."""
    return Key(_FAMILY.get(record["kind"], "view"), record["name"])


def closure(rules: Rules, objects: Mapping[Key, Meaning]) -> dict[Key, Meaning]:
    """What of a registry is published: never less than before, and more as it gains readers.

    Args:
        rules: Lines, and what is published already.
        objects: All that the registry holds.

    Returns:
        Every published object with what it means; an earlier one keeps its meaning.
    """
    found = dict(rules.published)
    # What is not as its line says was a draft before the line came, and may still be put right.
    fit = {key: held for key, held in objects.items() if not _against_lines(rules, key, held)}
    for name in rules.lines:
        key = Key("view", name)
        if key in fit:
            found.setdefault(key, fit[key])
    while added := {key: fit[key] for key in _reached(found, fit) if key in fit}:
        found |= added
    return found


def _reached(published: Mapping[Key, Meaning], objects: Mapping[Key, Meaning]) -> list[Key]:
    reached: list[Key] = []
    for key, record in objects.items():
        views = [Key("view", name) for name in reads_of(record)]
        # A derived view is a draft until its name holds a version or a published service reads it.
        fixed = key.family == "service" or _VERSIONED.match(key.name) is not None
        if fixed and any(view in published for view in views):
            reached.append(key)
    for record in published.values():
        reached += [Key("view", name) for name in reads_of(record)]
        reached += [Key(_FAMILY[kind], name) for kind, name in rests_on(record)]
    return [key for key in reached if key not in published]


def check(
    rules: Rules, before: Mapping[Key, Meaning], after: Mapping[Key, Meaning]
) -> list[Breach]:
    """Every rule that a whole registry would break.

    Args:
        rules: Lines, and what is published.
        before: What the registry holds; tells who depends on what.
        after: What it would hold.
    """
    everything = {**after, **before}
    found: list[Breach] = []
    for key, held in sorted(rules.published.items()):
        breaches = check_one(rules, key, after.get(key), everything)
        # Nothing is about to happen to it, so it has happened already.
        drifted = after.get(key) == before.get(key) != held
        found += [_past(breach) for breach in breaches] if drifted else breaches
    new = sorted(key for key in after.keys() - rules.published.keys() if _new(key, before, after))
    return found + [breach for key in new for breach in check_one(rules, key, after[key], after)]


def _new(key: Key, before: Mapping[Key, Meaning], after: Mapping[Key, Meaning]) -> bool:
    return before.get(key) != after[key]


def _past(breach: Breach) -> Breach:
    mend = "apply the definition that was published, or put the registry back from a backup"
    words = breach.found.replace("would be", "was").replace("would change", "was changed")
    return Breach("G9", f"past the guard, {words}", breach.where, mend)


def check_one(
    rules: Rules, key: Key, wanted: Meaning | None, objects: Mapping[Key, Meaning]
) -> list[Breach]:
    """The rules that one object would break.

    Args:
        rules: Lines, and what is published.
        key: Which object.
        wanted: What it would mean; None when it would be removed.
        objects: All that the registry holds; tells who depends on it.
    """
    held = rules.published.get(key)
    if held is None:
        return _against_lines(rules, key, wanted) if wanted is not None else []
    changed, removed = _CODES.get(key.family, _UNDER)
    words = [] if wanted is None else differences(held, wanted)
    if wanted is not None and not words:
        return _against_lines(rules, key, wanted)
    where = f"{key}{_read_by(key, {**rules.published, **objects})}"
    if wanted is None:
        return [Breach(removed, "a published version would be removed", where, _keep(key))]
    names = [name for family, name in (*rules.published, *objects) if family == key.family]
    found = f"a published version would change: {'; '.join(words)}"
    return [Breach(changed, found, where, _mend(key, [*names, *rules.lines]))]


def readers(key: Key, objects: Mapping[Key, Meaning]) -> list[str]:
    """Who depends on an object, directly or through others, in words."""
    return dependants(key, read_by(objects))


def dependants(key: Key, read_by: Mapping[Key, Sequence[Key]]) -> list[str]:
    """Who depends on an object, directly or through others, in words.

    Args:
        key: The object.
        read_by: As the function of that name gives it; worth keeping when many are asked for.
    """
    found: set[Key] = set()
    pending = [key]
    while pending:
        new = set(read_by.get(pending.pop(), ())) - found - {key}
        found |= new
        pending += new
    return [str(other) for other in sorted(found)]


def read_by(objects: Mapping[Key, Meaning]) -> dict[Key, list[Key]]:
    """Object -> the objects that read it or stand on it directly."""
    found: dict[Key, list[Key]] = {}
    for key, record in objects.items():
        for under in (
            *(Key(_FAMILY[kind], name) for kind, name in rests_on(record)),
            *(Key("view", name) for name in reads_of(record)),
        ):
            found.setdefault(under, []).append(key)
    return found


def next_table(name: str, names: Iterable[str]) -> str:
    """The next version's name: `device_window_v1` -> `device_window_v2`, past all that exist."""
    stem, number = _split(name)
    known = [version for other in names for base, version in [_split(other)] if base == stem]
    return f"{stem}_v{max([number, *known]) + 1}"


def differences(old: Meaning, new: Meaning) -> list[str]:
    """What of an object would change, in words; empty when it means the same."""
    words: list[str] = []
    for name in sorted(set(old) | set(new)):
        was, now = old.get(name), new.get(name)
        if was == now:
            continue
        if name in ("fields", "keys"):
            words += _columns("feature" if name == "fields" else "key", was or [], now or [])
        elif name == "reads":
            words += _reads(was or [], now or [])
        elif isinstance(was, dict) and isinstance(now, dict):
            title = _NOUNS.get(name, name)
            words += [f"{title} {word}" for word in differences(was, now)]
        else:
            words.append(f"{name} {_shown(was)} -> {_shown(now)}")
    return words


def expected(line: Record) -> Meaning:
    """What the view of a line means, from the line alone."""
    record = line.record
    place = record["source"]
    table = table_name(line.reference)
    source = {
        "name": table,
        "type": "batch_file",
        "class": "FileSource",
        "timestamp_column": place["timestamp_column"],
        "path": place["path"],
        "file_format": {"parquet_format": {}},
    }
    if place.get("mapping"):
        source["mapping"] = dict(sorted(place["mapping"].items()))
    return {
        "kind": "FeatureView",
        "name": table,
        "entities": [entity["name"] for entity in record["entities"]],
        "keys": [[entity["key"], entity["dtype"]] for entity in record["entities"]],
        "fields": [list(column) for column in record["fields"]],
        "ttl_seconds": record["ttl_seconds"],
        "source": source,
        "digest": line.digest,
    }


def _against_lines(rules: Rules, key: Key, wanted: Meaning) -> list[Breach]:
    """G3: what a version is, its line says, whether a registry has published it or not."""
    line = rules.lines.get(key.name)
    if key.family not in ("view", "source") or line is None:
        return []
    whole = expected(line)
    stands = whole if key.family == "view" else {"kind": "DataSource", **whole["source"]}
    words = differences(stands, wanted)
    if not words:
        return []
    return [
        Breach(
            "G3",
            f"it is not what features.lock records of {line.reference}: {'; '.join(words)}",
            str(key),
            f"define it as recorded (firnline lock show {line.reference}); what differs is a new "
            f"version, {next_table(key.name, rules.lines)}",
        )
    ]


def _columns(noun: str, old: list[Any], new: list[Any]) -> list[str]:
    was = {column[0]: column[1:] for column in old}
    now = {column[0]: column[1:] for column in new}
    words = [f"{noun} {name} gone" for name in was if name not in now]
    words += [f"{noun} {name} added" for name in now if name not in was]
    words += [
        f"{noun} {name}: {_shown(was[name])} -> {_shown(now[name])}"
        for name in was
        if name in now and was[name] != now[name]
    ]
    return words or [f"{noun}s in another order"]


def _reads(old: list[Meaning], new: list[Meaning]) -> list[str]:
    was = {part.get("feature_view_name_alias") or part["view"]: part for part in old}
    now = {part.get("feature_view_name_alias") or part["view"]: part for part in new}
    words = [f"no longer reads {name}" for name in was if name not in now]
    words += [f"reads {name} too" for name in now if name not in was]
    for name in was:
        if name in now and was[name] != now[name]:
            words += [f"{name}: {word}" for word in differences(was[name], now[name])]
    return words or ["reads its views in another order"]


def _read_by(key: Key, objects: Mapping[Key, Meaning]) -> str:
    found = readers(key, objects)
    return f" (read by {', '.join(found)})" if found else ""


def _keep(key: Key) -> str:
    if key.family == "view":
        return f"keep {key} in the repository; publish the next version beside it"
    return f"keep {key} in the repository as long as a published version needs it"


def _mend(key: Key, names: list[str]) -> str:
    if key.family == "view":
        return f"leave {key.name} as it is and define {next_table(key.name, names)} beside it"
    if key.family == "service":
        return f"leave {key.name} as it is and define a service of another name beside it"
    return f"leave {key.name} as it is and define another, which the next version reads"


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, list) and len(value) == 1:
        return _shown(value[0])
    text = value if isinstance(value, str) else canonical_json(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _split(name: str) -> tuple[str, int]:
    match = _VERSIONED.match(name)
    return (match.group(1), int(match.group(2))) if match else (name, 0)
