"""The lock: lines verify themselves, are only ever added, and survive a union of branches."""

import copy
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firnline.contracts.lock import (
    Line,
    Lock,
    add,
    appended,
    differences,
    disagreements,
    examine,
    joined,
    line_of,
    next_version,
    parse,
    render,
    tidied,
)
from firnline.digest import canonical_json, digest
from firnline.errors import HandshakeError

HEAD = "# Published.\n\n"
RECORD: dict[str, Any] = {
    "name": "pump_window",
    "version": 1,
    "entities": [{"name": "pump", "key": "pump_id", "dtype": "string"}],
    "fields": [["flow", "float64"], ["pressure", "float64"]],
    "ttl_seconds": 3600,
    "window_seconds": 900,
    "every_seconds": 900,
    "partition": "hour",
    "source": {
        "kind": "parquet",
        "path": "firnline://pump_window_v1",
        "timestamp_column": "window_end",
        "mapping": {},
    },
    "transformation": {
        "root": "window",
        "definitions": {"transforms.window": "a" * 64, "transforms.SENSORS": "b" * 64},
        "imports": ["ibis"],
    },
}


@dataclass(frozen=True)
class Version:
    """A feature version with any record."""

    name: str
    number: int
    told: dict[str, Any]

    @property
    def reference(self) -> str:
        return f"{self.name}@v{self.number}"

    def record(self) -> dict[str, Any]:
        source = {**RECORD["source"], "path": f"firnline://{self.name}_v{self.number}"}
        own = {"name": self.name, "version": self.number, "source": source}
        return {**RECORD, **own, **self.told}

    def digest(self) -> str:
        return digest(self.record())


def version(name: str = "pump_window", number: int = 1, **told: Any) -> Version:
    return Version(name, number, told)


def text(*versions: Version) -> str:
    return HEAD + "".join(f"{line_of(each).text()}\n" for each in versions)


names = st.sampled_from(["a", "a_v1", "b", "pump_window", "pump"])
versions = st.builds(
    Version,
    names,
    st.integers(1, 12),
    st.fixed_dictionaries({"ttl_seconds": st.integers(1, 3), "note": st.text(max_size=4)}),
)
several = st.lists(versions, max_size=8, unique_by=lambda each: each.reference)


@given(several, st.randoms())
def test_the_same_versions_are_the_same_bytes(chosen: list[Version], random: Any) -> None:
    shuffled = random.sample(chosen, len(chosen))
    written = render(add(Lock(head=HEAD), chosen))

    assert written == render(add(Lock(head=HEAD), shuffled))
    assert render(parse(written, "lock")) == written
    references = [line.order for line in parse(written, "lock")]
    assert references == sorted(references)


@given(st.lists(several, max_size=5))
def test_a_lock_is_only_ever_added_to(steps: list[list[Version]]) -> None:
    lock = Lock(head=HEAD)
    for chosen in steps:
        before = render(lock)
        try:
            lock = add(lock, chosen)
        except HandshakeError as error:
            assert error.code == "L1"
            known = {line.reference: line.digest for line in lock}
            assert any(known.get(each.reference, each.digest()) != each.digest() for each in chosen)
        assert set(before.splitlines()) <= set(render(lock).splitlines())
        assert appended(parse(before, "before"), lock, "lock") == []


@settings(max_examples=200)
@given(st.data())
def test_no_edit_of_a_published_line_goes_unseen(data: st.DataObject) -> None:
    before = text(version(), version(number=2, ttl_seconds=7))
    place = data.draw(st.integers(len(HEAD), len(before) - 1))
    put = data.draw(st.sampled_from(["", "0", "1", "9", "a", "z", " ", "\n", "\r", '"', "#"]))
    after = before[:place] + put + before[place + data.draw(st.integers(0, 1)) :]

    now, breaches = examine(after, "lock")

    seen = [*breaches, *appended(parse(before, "lock"), now, "lock")]
    # More blank lines above the first one are no edit of it.
    edited = after.removeprefix(HEAD).lstrip("\n") != before.removeprefix(HEAD)
    assert bool(seen) == edited


@given(several, several, several)
def test_two_branches_are_a_lock_again_once_tidied(
    shared: list[Version], ours: list[Version], theirs: list[Version]
) -> None:
    taken = {each.reference for each in shared}
    mine = [each for each in ours if each.reference not in taken]
    taken |= {each.reference for each in mine}
    other = [each for each in theirs if each.reference not in taken]
    base = render(add(Lock(head=HEAD), shared))
    union = base + "".join(f"{line_of(each).text()}\n" for each in (*mine, *other, *mine))

    assert {breach.code for breach in examine(union, "lock")[1]} <= {"L4", "L5"}
    assert tidied(union) == render(add(Lock(head=HEAD), [*shared, *mine, *other]))


def test_two_branches_that_took_the_same_number() -> None:
    union = text(version(), version(number=2), version(number=2, ttl_seconds=7))

    (breach,) = examine(tidied(union), "lock")[1]

    assert breach.code == "L5"
    assert "ttl_seconds" in breach.found and "pump_window@v3" in breach.mend


GOOD = text(version(), version(number=2))
LINE = line_of(version()).text()
EDITED = LINE.replace('"ttl_seconds":3600', '"ttl_seconds":7200')
OTHER = {**version(number=2).record(), "version": 3}
BROKEN = {
    "no line": ("pump_window@v1 device\n", "L2", "is no `<reference> <sha256> <record>`"),
    "no reference": (LINE.replace("@v1 ", "@one ", 1) + "\n", "L2", "no feature reference"),
    "version zero": (LINE.replace("@v1 ", "@v0 ", 1) + "\n", "L2", "no feature reference"),
    "cut off": (LINE[:200] + "}\n", "L2", "pump_window@v1"),
    "not a number": (LINE.replace("3600", "NaN") + "\n", "L2", "pump_window@v1"),
    "nested without end": (
        f"a@v1 {'0' * 64} {{{'[' * 100_000}}}\n",
        "L2",
        "a@v1",
    ),
    "no newline": (GOOD[:-1], "L2", "no newline"),
    "windows": (LINE + "\r\n", "L2", "Windows"),
    "byte order mark": ("\ufeff" + LINE + "\n", "L2", "no feature reference"),
    "an open merge": (f"<<<<<<< ours\n{LINE}\n", "L2", "merge was left open"),
    "a comment below": (f"{LINE}\n# note\n", "L2", "comment stands among"),
    "a blank line below": (f"{LINE}\n\n", "L2", "comment stands among"),
    "of another version": (
        f"pump_window@v2 {digest(OTHER)} {canonical_json(OTHER)}\n",
        "L2",
        "holds the record of pump_window@v3",
    ),
    "edited": (EDITED + "\n", "L3", "its record has the digest"),
    "laid out": (LINE.replace('":', '": ') + "\n", "L3", "not in canonical form"),
    "unsorted": (text(version(number=10), version(number=9)), "L4", "stands below"),
    "twice": (f"{LINE}\n{LINE}\n", "L5", "stands here twice"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_each_breach_alone(name: str) -> None:
    written, code, found = BROKEN[name]

    breaches = examine(written, "features.lock")[1]

    assert [breach.code for breach in breaches] == [code]
    assert found in breaches[0].found and breaches[0].mend
    assert breaches[0].where.startswith("features.lock")


def test_every_breach_is_told_at_once() -> None:
    written = "".join(case[0] for name, case in BROKEN.items() if name != "no newline")

    with pytest.raises(HandshakeError) as caught:
        parse(written, "features.lock")

    assert all(f"[{code}]" in caught.value.found for code in ("L2", "L3", "L5"))


@pytest.mark.parametrize("written", ["", HEAD, "# no newline, but a comment\n", GOOD])
def test_what_is_a_lock(written: str) -> None:
    assert render(parse(written, "lock")) == written


def test_line_ends_of_unicode_are_no_line_ends() -> None:
    lock = add(Lock(), [version(note="a\u2028b\x85c")])

    assert parse(render(lock), "lock") == lock


def test_nothing_is_added_when_one_version_would_change() -> None:
    lock = add(Lock(), [version(), version(number=4)])

    with pytest.raises(HandshakeError) as caught:
        add(lock, [version("other"), version(ttl_seconds=7200), version(number=4, partition="day")])

    assert caught.value.code == "L1"
    assert "ttl_seconds 3600 -> 7200" in caught.value.found
    assert "partition hour -> day" in caught.value.found
    assert caught.value.mend == "undo the change, or publish it as pump_window@v5"


def test_a_record_of_another_name_is_not_published() -> None:
    with pytest.raises(HandshakeError) as caught:
        add(Lock(), [version(name="pump_window", number=1, version=2)])

    assert caught.value.code == "L2"


def test_a_line_that_is_gone_or_changed_since() -> None:
    base = add(Lock(), [version(), version(number=2), version("new")])
    fork = Lock(tuple(line for line in base if line.reference != "new@v1"))
    now = add(Lock(), [version(ttl_seconds=7)])

    breaches = appended(base, now, "lock", fork)

    assert [breach.code for breach in breaches] == ["L1", "L1"]
    assert "ttl_seconds 3600 -> 7" in breaches[0].found
    assert breaches[1].found.startswith("the line of pump_window@v2#")
    # What the base gained after the work at hand parted from it is not missed.
    assert len(appended(base, now, "lock")) == 3


def test_two_files_may_repeat_a_version_but_not_change_it() -> None:
    shipped = add(Lock(), [version(), version(number=2)])
    project = add(Lock(), [version(number=2), version("own")])
    other = add(Lock(), [version(number=2, ttl_seconds=5)])

    assert len(joined({"shipped": shipped, "project": project})) == 3
    (breach,) = disagreements({"shipped": shipped, "project": project, "other": other})
    assert (breach.code, breach.where) == ("L1", "other")
    with pytest.raises(HandshakeError):
        joined({"shipped": shipped, "other": other})


def test_looking_a_version_up() -> None:
    lock = add(Lock(), [version("a"), version("a", 10), version("a_v1")])

    assert [line.reference for line in lock] == ["a@v1", "a@v10", "a_v1@v1"]
    assert lock.by_table("a_v1") == lock.get("a@v1")
    assert lock.by_table("a_v1_v1") == lock.get("a_v1@v1")
    assert lock.get("a@v2") is None and lock.by_table("b_v1") is None
    assert [next_version(lock, name) for name in ("a", "b")] == ["a@v11", "b@v1"]
    line = lock.lines[0]
    assert line.label == f"a@v1#{line.digest[:6]}" and line in {line}


WORDS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "ttl": ({"ttl_seconds": 7200}, ["ttl_seconds 3600 -> 7200"]),
    "dtype": (
        {"fields": [["flow", "float32"], ["pressure", "float64"]]},
        ["feature flow: float64 -> float32"],
    ),
    "order": (
        {"fields": [["pressure", "float64"], ["flow", "float64"]]},
        ["features in another order, pressure before flow"],
    ),
    "features": (
        {"fields": [["flow", "float64"], ["level", "float64"]]},
        ["feature pressure removed", "feature level added"],
    ),
    "a feature twice": (
        {"fields": [["flow", "float64"], ["flow", "float64"]]},
        [
            f"fields {canonical_json(RECORD['fields'])} -> "
            + '[["flow","float64"],["flow","float64"]]'
        ],
    ),
    "path": (
        {"source": {**RECORD["source"], "path": "s3://data"}},
        ["source path firnline://pump_window_v1 -> s3://data"],
    ),
    "mapping": (
        {"source": {**RECORD["source"], "mapping": {"f": "flow"}}},
        ["source mapping f none -> flow"],
    ),
    "key": (
        {"entities": [{"name": "pump", "key": "unit_id", "dtype": "string"}]},
        ["entity pump key pump_id -> unit_id"],
    ),
    "entities": (
        {"entities": [{"name": "site", "key": "site_id", "dtype": "string"}]},
        ["entity pump removed", "entity site added"],
    ),
    "transformation": (
        {
            "transformation": {
                "root": "windows",
                "definitions": {"transforms.window": "c" * 64, "transforms.helper": "d" * 64},
                "imports": ["ibis", "math"],
            }
        },
        [
            "transformation window -> windows",
            "transformation: transforms.window changed",
            "transformation: transforms.SENSORS removed",
            "transformation: transforms.helper added",
            "transformation: import of math added",
        ],
    ),
    "data": ({"snapshot": "0f1e"}, ["snapshot none -> 0f1e"]),
    "null": ({"snapshot": None}, ["snapshot none -> null"]),
    "model": ({"model": "e" * 64}, ["model none -> " + "e" * 64]),
    "number": ({"ttl_seconds": 3600.0}, ["ttl_seconds 3600 -> 3600.0"]),
    "name": (
        {
            "name": "other",
            "version": 9,
            "source": {**RECORD["source"], "path": "firnline://other_v9"},
        },
        [],
    ),
}


@pytest.mark.parametrize("name", WORDS)
def test_differences_in_words(name: str) -> None:
    told, words = WORDS[name]

    assert differences(RECORD, {**RECORD, **told}) == words


def test_differences_between_models() -> None:
    old = {
        "name": "a",
        "version": 1,
        "model": "1" * 64,
        "reads": {"x@v1": "2" * 64, "y@v1": "3" * 64},
    }
    new = {
        "name": "a",
        "version": 2,
        "model": "4" * 64,
        "reads": {"x@v1": "5" * 64, "z@v1": "6" * 64},
    }

    assert differences(old, new) == [
        "model #111111 -> #444444",
        "no longer reads y@v1",
        "reads z@v1#666666 too",
        "reads x@v1 #222222 -> #555555",
    ]


leaves = st.none() | st.booleans() | st.integers(0, 2) | st.sampled_from(["", "a", "flow", "1"])
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["name", "a", "root", "definitions"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=200)
@given(st.sampled_from(sorted(RECORD)), values)
def test_whatever_differs_is_told_and_nothing_else(key: str, value: Any) -> None:
    changed = copy.deepcopy(RECORD) | {key: value}

    same = canonical_json({**changed, "name": 0, "version": 0}) == canonical_json(
        {**RECORD, "name": 0, "version": 0}
    )

    if key not in ("name", "version"):
        assert (differences(RECORD, changed) == []) == same
        assert (differences(changed, RECORD) == []) == same


def test_a_line_is_a_value() -> None:
    line = line_of(version())

    assert line == parse(f"{line.text()}\n", "lock").lines[0]
    assert replace(line, digest="0" * 64) != line
    assert isinstance(line, Line) and line.table == "pump_window_v1"
