"""The rules over a whole registry: what it holds, what it would hold, what it has published."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from firnline.adapters.feast_guard.meaning import Meaning
from firnline.adapters.feast_guard.published_file import Entry
from firnline.adapters.feast_guard.registry_objects import (
    HISTORY,
    histories,
    history_meaning,
    meanings,
    twice,
    viewed,
)
from firnline.adapters.feast_guard.rules import (
    Key,
    Record,
    Rules,
    check,
    closure,
    differences,
    next_table,
)
from firnline.contracts.breach import Breach
from firnline.digest import canonical_json

Lines = Mapping[str, Record]


def registry_breaches(
    lines: Lines, published: Sequence[Entry], before: Sequence[Entry], after: Sequence[Entry]
) -> list[Breach]:
    """Every rule that a registry would break by becoming another.

    Args:
        lines: Feast's name of a version -> its line in the lock.
        published: What the registry has published.
        before: What it holds.
        after: What it would hold.
    """
    was, now = meanings(before), meanings(after)
    held = held_meanings(published, now)
    found: list[Breach] = []
    for project in sorted({*held, *now}):
        rules = Rules(lines, held.get(project, {}))
        found += check(rules, was.get(project, {}), now.get(project, {}))
    return found + _doubles(published, after) + _history_breaches(published, after)


def newly_published(
    lines: Lines, published: Sequence[Entry], after: Sequence[Entry]
) -> list[Entry]:
    """What a registry publishes by holding these objects, beside what it has already.

    Args:
        lines: Feast's name of a version -> its line in the lock.
        published: What the registry has published.
        after: What it holds.
    """
    now = meanings(after)
    held = held_meanings(published, now)
    public = {
        (project, key)
        for project, objects in now.items()
        for key in closure(Rules(lines, held.get(project, {})), objects)
    }
    known = {(entry.project, entry.family, entry.name) for entry in published}
    return [
        replace(entry, meaning=_recorded(now, entry))
        for entry in after
        if (entry.project, entry.family, entry.name) not in known
        and (entry.project, _stands_for(entry)) in public
    ]


def not_as_published(published: Sequence[Entry], found: Sequence[Entry]) -> list[str]:
    """What of a registry is no longer what it has published, in words.

    Args:
        published: What the registry has published.
        found: What it holds.
    """
    now = meanings(found)
    held = held_meanings(published, now)
    words: list[str] = []
    for project, objects in held.items():
        for key, record in objects.items():
            stands = now.get(project, {}).get(key)
            changes = ["is gone"] if stands is None else differences(record, stands)
            words += [f"{key}: {'; '.join(changes)}"] if changes else []
    words += [breach.found for breach in _doubles(published, found)]
    return words + [breach.found for breach in _history_breaches(published, found)]


def held_meanings(
    published: Sequence[Entry], now: Mapping[str, Mapping[Key, Meaning]]
) -> dict[str, dict[Key, Meaning]]:
    """What published objects mean, as far as possible in the terms of what stands there now.

    Byte code reads otherwise to another Python than to the one that published it, so an object
    is unchanged when it reads as it was read then, or as its message reads today.

    Args:
        published: What the registry has published.
        now: Project -> key -> what an object of the registry means.

    Returns:
        Project -> key -> what a published object means.
    """
    held = meanings(published)
    for entry in published:
        key = Key(entry.family, entry.name)
        stands = now.get(entry.project, {}).get(key)
        if stands is not None and canonical_json(stands) == entry.meaning:
            held[entry.project][key] = stands
    return held


def _recorded(now: Mapping[str, Mapping[Key, Meaning]], entry: Entry) -> str:
    if entry.family == HISTORY:
        return ""
    return canonical_json(now[entry.project][Key(entry.family, entry.name)])


def _stands_for(entry: Entry) -> Key:
    if entry.family == HISTORY:
        return Key("view", viewed(entry)[0])
    return Key(entry.family, entry.name)


def _doubles(published: Sequence[Entry], after: Sequence[Entry]) -> list[Breach]:
    names = {(entry.project, Key(entry.family, entry.name)) for entry in published}
    return [
        Breach(
            "G1",
            f"there would be two objects under the name of the published {key}",
            str(key),
            "give the other another name",
        )
        for _, key in sorted(twice(after) & names)
    ]


def _history_breaches(published: Sequence[Entry], after: Sequence[Entry]) -> list[Breach]:
    """What `view@vN` reads of a published view can neither change nor become something else."""
    held, now = histories(published), histories(after)
    views = held_meanings(published, meanings(after))
    there = {(entry.project, entry.name) for entry in after if entry.family == "view"}
    found: list[Breach] = []
    for place, entry in held.items():
        name, number = viewed(entry)
        stands = now.get(place)
        if stands is None and (entry.project, name) in there:
            found.append(_history_breach("G7", name, number, "would be removed"))
        elif stands is not None and stands.message != entry.message:
            found.append(_history_breach("G7", name, number, "would be rewritten"))
    for place, entry in now.items():
        name, number = viewed(entry)
        record: Meaning | None = views.get(entry.project, {}).get(Key("view", name))
        if place in held or record is None:
            continue
        words = differences(record, history_meaning(entry))
        if words:
            text = f"would be another definition under the same name: {'; '.join(words)}"
            found.append(_history_breach("G1", name, number, text))
    return found


def _history_breach(code: str, name: str, number: str, text: str) -> Breach:
    return Breach(
        code,
        f"version v{number} that Feast keeps of the published {name} {text}",
        f"view {name}",
        f"leave {name} and its versions as they are; define {next_table(name, [name])} beside it",
    )
