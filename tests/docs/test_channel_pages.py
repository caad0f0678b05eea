"""The channel's pages do what they say: each command is run, and a device gets on afterwards."""

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from edge.channel import pkcs8
from edge.channel.keys import ensure
from edge.channel.metadata import after, dated, named, timestamp
from edge.channel.renew import renew
from edge.channel.repository import Repository
from firnline.digest import bytes_digest
from firnline.errors import DeliveryError
from tests.docs import stand
from tests.docs.pages import DOCS, ROOT, shell_lines, tables
from tests.docs.shell import PASSPHRASE, Shell, shell
from tests.edge.channel.stands import serving

CHANNEL, KEYS = Path(".firnline/channel"), Path(".firnline/keys")
STICKS = ("ada", "ben", "cleo")
RECOVERY = (DOCS / "recovery.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", RECOVERY, re.M | re.S))


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """Where projects lie: in memory, where a sync costs nothing; key files of little cost."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108
    with TemporaryDirectory(dir=memory) as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(pkcs8, "_COST", 16)
        yield Path(folder)


@pytest.fixture(scope="module")
def bare(place: Path) -> Path:
    """A project with two releases and no channel."""
    stand.bundles(place / "bare")
    return place / "bare"


@pytest.fixture(scope="module")
def made(bare: Path, place: Path) -> Path:
    """A project whose devices run its first release."""
    folder = copied(bare, place / "made")
    with shell(folder) as here:
        for stick in STICKS:
            (folder / stick).mkdir()
        given = [f"{role}=file:{s}/{role}.pem" for role in ("root", "targets") for s in STICKS]
        here.firnline("channel", "init", *(word for uri in given for word in ("--key", uri)))
        here.firnline("channel", "publish", stand.ENSEMBLE, "--proved")
        for share in ("10%", "100%"):
            here.firnline("channel", "promote", stand.ENSEMBLE, "--to", "stable", "--share", share)
    return folder


@pytest.fixture
def project(bare: Path, place: Path, request: pytest.FixtureRequest) -> Path:
    """A project of a test's own, with no channel."""
    return copied(bare, place / request.node.name)


def copied(folder: Path, to: Path) -> Path:
    """A project of its own: the files that name their place name the new one."""
    shutil.copytree(folder, to)
    for path in (to / CHANNEL / "channel.json", to / ".firnline/runs/refrigeration.json"):
        if path.exists():
            path.write_text(path.read_text().replace(str(folder), str(to)))
    return to


def follow(page: str, here: Shell) -> None:
    assert here.follow((DOCS / page).read_text(encoding="utf-8")) > 0


def test_the_channel_page(project: Path) -> None:
    with shell(project, run=lambda: stand.ran(project, 2)) as here:
        follow("channel.md", here)
        text = (DOCS / "channel.md").read_text(encoding="utf-8")
        found = json.loads(here.firnline("channel", "status", "--json"))
        url = here.told["http://127.0.0.1:8765"]
        stand.device(here, url, (project / CHANNEL / "root.json").read_bytes())
    for track, share in {"stable": 1.0, "beta": 1.0}.items():
        told = next(each for each in found["tracks"] if each["track"] == track)
        assert list(told["shares"].values()) == [share]
    for name in found:
        assert f"`{name}" in text, name
    assert [name for name in found["roles"][0] if f"`{name}" not in text] == []


def test_the_key_ceremony(project: Path) -> None:
    with shell(project) as here:
        follow("key-ceremony.md", here)
        here.firnline("channel", "promote", stand.ENSEMBLE, "--to", "stable")
        found = json.loads(here.firnline("channel", "status", "--json", "--keys"))
        with serving(project / CHANNEL / "public") as url:
            stand.device(here, url, (project / CHANNEL / "root.json").read_bytes())
    roles = {role["name"]: role for role in found["roles"]}
    assert found["root_version"] == 6 and not found["staged"]
    for role in ("root", "targets"):
        named = {key["keyid"] for key in roles[role]["keys"]}
        halves = (f"public:{project}/{name}-{role}.pub" for name in ("ada", "ben", "dora"))
        assert named == {ensure(half).keyid for half in halves}
        assert not any(key["uri"] for key in roles[role]["keys"]), "they never came here"


def test_the_page_for_edge_teams(made: Path, place: Path) -> None:
    folder, root = place / "edge", (made / CHANNEL / "root.json").read_bytes()
    folder.mkdir()
    (folder / "root.json").write_bytes(root)
    row = {
        "id": "r1",
        "key": "unit-1",
        "window_end": "2026-01-01T00:15:00Z",
        "row": [0.5, None, 3, 1],
    }
    (folder / "rows.jsonl").write_text(f"{json.dumps(row)}\n")
    text = (DOCS / "edge-teams.md").read_text(encoding="utf-8")
    shown = re.search(r"^```text\n(.*?)^```", text, re.M | re.S)
    with shell(folder) as here, serving(made / CHANNEL / "public") as url:
        here.told = {"https://channel.example/firnline": url, "SHA256": bytes_digest(root)}
        follow("edge-teams.md", here)
    said = "".join(here.output)
    assert shown and shown[1] in said
    assert "installed" in said and '"id": "r1", "answer": ' in said
    assert {path.name for path in (folder / "firmware").iterdir()} >= {"pulled.json", "src"}


def test_the_agent_is_installed_as_its_own_page_says() -> None:
    """The two pages name one way."""
    page = (DOCS / "edge-teams.md").read_text(encoding="utf-8")
    own = (ROOT / "edge/agent/README.md").read_text(encoding="utf-8")
    steps = list(shell_lines(own, "sh"))[:3]
    assert [line.split()[0].rpartition("/")[2] for line in steps] == ["python3", "pip", "pip"]
    assert list(shell_lines(page, "console"))[:3] == steps


def lose(*paths: str | Path) -> Callable[[Shell], None]:
    """A disaster: files or folders are gone."""

    def strike(here: Shell) -> None:
        for path in paths:
            found = here.project.folder / path
            shutil.rmtree(found) if found.is_dir() else found.unlink()

    return strike


def nothing(_: Shell) -> None:
    """No disaster: a key is stolen, which nobody sees."""


def expired(here: Shell) -> None:
    """Snapshot and timestamp were last renewed a month ago."""
    signed_at(here, datetime.now(UTC) - timedelta(days=30))


def ahead(here: Shell) -> None:
    """The publisher's clock was a month ahead for an hour, and the device polled."""
    then = datetime.now(UTC) + timedelta(days=30)
    renew(repository(here, now=lambda: then), timedelta(days=15))
    here.agent("pull", "--config", "device/agent.toml")
    stand.ran(here.project.folder, 2)
    with pytest.raises(DeliveryError, match="V17"):
        here.firnline("channel", "publish", stand.ENSEMBLE, "--proved", "--track", "stable")


def moved_clock(here: Shell) -> None:
    """A thief of both online keys tells the device a time in two months, and it believes it."""
    stamp = repository(here).public / "metadata" / "timestamp.json"
    before = stamp.read_bytes()
    signed_at(here, datetime.now(UTC) + timedelta(days=60))
    here.agent("pull", "--config", "device/agent.toml")
    stamp.write_bytes(before)
    with pytest.raises(AssertionError, match=r"\[U7\]"):
        here.agent("pull", "--config", "device/agent.toml")


def signed_at(here: Shell, then: datetime) -> None:
    """Snapshot and timestamp are signed anew, as of some other time."""
    repo = repository(here)
    state = repo.state()
    snapshot, root = state.snapshot.signed, state.root.signed
    dated(snapshot, snapshot.version + 1, after(then, 14))
    content = repo.signed(root, "snapshot", snapshot).to_bytes()
    stamp = timestamp(named("snapshot", snapshot.version, content), then)
    dated(stamp, state.timestamp.signed.version + 1, after(then, 7))
    metadata = repo.public / "metadata"
    (metadata / f"{snapshot.version}.snapshot.json").write_bytes(content)
    (metadata / "timestamp.json").write_bytes(repo.signed(root, "timestamp", stamp).to_bytes())


def moved_channel(here: Shell) -> None:
    """Two root keys are gone; the others sign until root ends."""
    lose("ada", "ben")(here)


def new_release(here: Shell) -> None:
    """A second release runs on the device, and is bad."""
    stand.ran(here.project.folder, 2)
    here.firnline("channel", "publish", stand.ENSEMBLE, "--proved", "--track", "stable")
    here.agent("pull", "--config", "device/agent.toml")


def mirrored(here: Shell) -> None:
    """A web server's copy is left, and the root that devices were given."""
    folder = here.project.folder
    shutil.copytree(folder / CHANNEL / "public", folder / "mirror")
    shutil.copy(folder / CHANNEL / "root.json", folder)
    shutil.rmtree(folder / CHANNEL)


def robbed(here: Shell) -> None:
    """A thief published; the machine is gone, the copies are there."""
    new_release(here)
    mirrored(here)


def old_mirror(here: Shell) -> None:
    """A copy is left of the day before the release that the device runs."""
    folder = here.project.folder
    shutil.copytree(folder / CHANNEL / "public", folder / "yesterday")
    new_release(here)
    mirrored(here)
    shutil.rmtree(folder / "mirror")
    (folder / "yesterday").rename(folder / "mirror")


def only_keys(here: Shell) -> None:
    """What a device keeps of the roots is all that is left of the channel."""
    folder = here.project.folder
    shutil.copytree(folder / CHANNEL / "public/metadata", folder / "roots")
    shutil.rmtree(folder / CHANNEL)


def half_written(here: Shell) -> None:
    """A publisher was killed before its timestamp."""
    metadata = here.project.folder / CHANNEL / "public/metadata"
    shutil.copy(metadata / "2.snapshot.json", metadata / "99.snapshot.json")


DISASTERS: dict[str, Callable[[Shell], None]] = {
    "The timestamp key is lost": lose(KEYS / "timestamp.pem"),
    "The timestamp and the snapshot key are lost": lose(
        KEYS / "timestamp.pem", KEYS / "snapshot.pem"
    ),
    "The key of a track or a kind is lost": lose(KEYS / "stable.pem", KEYS / "cpu.pem"),
    "The timestamp was not renewed": expired,
    "The publisher's clock was wrong": ahead,
    "Online keys are stolen": moved_clock,
    "The key of a track is stolen": nothing,
    "The key of a kind is stolen": nothing,
    "The publishing machine is stolen": robbed,
    "A stick is lost or stolen": lose("cleo"),
    "Two of three root keys are lost": moved_channel,
    "The channel is lost": mirrored,
    "The mirror is old": old_mirror,
    "The channel is lost, and every mirror": only_keys,
    "A bad release is in the field": new_release,
    "A publisher was killed, or its disk was full": half_written,
}


def test_every_runbook_is_tried() -> None:
    assert list(SECTIONS) == list(DISASTERS)


@pytest.fixture
def struck(made: Path, place: Path) -> Iterator[Shell]:
    """A project of its own with a device that is up to date."""
    with TemporaryDirectory(dir=place) as parent:
        folder = copied(made, Path(parent) / "project")
        run = partial(stand.ran, folder, 2)
        with shell(folder, run=run) as here, serving(folder) as url:
            stand.device(
                here, f"{url}/{CHANNEL}/public", (folder / CHANNEL / "root.json").read_bytes()
            )
            yield here


@pytest.mark.parametrize("name", list(DISASTERS))
def test_a_runbook(name: str, struck: Shell) -> None:
    first, _ = releases(struck)
    config = struck.project.folder / "device" / "agent.toml"
    DISASTERS[name](struck)
    stand.ran(struck.project.folder, 1)
    assert struck.follow(SECTIONS[name]) > 0
    if DISASTERS[name] is moved_channel:
        shutil.copy("new/root.json", config.parent / "root.json")
        config.write_text(config.read_text().replace(f"{CHANNEL}/public", "new/public"))
    # The first release runs where all is well again, whatever was published in between.
    assert stand.release_on(struck, config) == first


def test_after_a_runbook_the_channel_publishes(struck: Shell) -> None:
    _, second = releases(struck)
    lose(KEYS / "timestamp.pem")(struck)
    struck.follow(SECTIONS["The timestamp key is lost"])
    new_release(struck)
    assert stand.release_on(struck, struck.project.folder / "device/agent.toml") == second


def releases(here: Shell) -> list[str]:
    """Digests of the first release and of the second."""
    found = []
    for number in (1, 2):
        stand.ran(here.project.folder, number)
        path = here.project.folder / ".firnline/runs/refrigeration.json"
        found.append(str(json.loads(path.read_text())["bundle"]["digest"]))
    stand.ran(here.project.folder, 1)
    return found


def repository(here: Shell, **options: Callable[[], datetime]) -> Repository:
    (secret,) = PASSPHRASE.values()
    return Repository(here.project.folder / CHANNEL, lambda _: secret, **options)  # type: ignore[arg-type]


def test_the_threat_model_names_tests_that_are_there() -> None:
    text = (DOCS / "threat-model.md").read_text(encoding="utf-8")
    attacks = "tests/edge/agent/test_attacks.py"
    named = re.findall(r"`(?:(tests/[\w/]+(?:\.py)?))?(?:::)?(test_\w+)?`", text)
    tests = [(ROOT / (path or attacks), test) for path, test in named if path or test]
    assert len(tests) > 40
    assert [path for path, _ in tests if not path.exists()] == []
    missing = [
        test for path, test in tests if test and f"def {test}(" not in path.read_text("utf-8")
    ]
    assert missing == []


def test_every_attack_of_the_agent_is_in_the_threat_model() -> None:
    text = (DOCS / "threat-model.md").read_text(encoding="utf-8")
    rows = [row for table in tables(text) if table[0][0] == "attack" for row in table[1:]]
    assert {f"U{number}" for number in (*range(1, 14), 15)} <= {row[2] for row in rows}


def test_the_figures_of_the_channel_are_those_of_the_results() -> None:
    document = json.loads((ROOT / "benchmarks/results/channel.json").read_text(encoding="utf-8"))
    servers = document["servers"]
    (table,) = [t for t in tables((DOCS / "channel.md").read_text("utf-8")) if "agents" in t[0][0]]
    rows = {row[0].partition(",")[0]: row[1:] for row in table}
    assert table[0][0].startswith(f"{document['agents']:,} agents")
    assert rows["errors"] == [str(sum(found["errors"].values())) for found in servers]
    for name in ("p50", "p99"):
        assert rows[f"{name} of an answer"] == [str(s["answer_ms"][name]) for s in servers]
    assert rows["bytes of an idle poll"] == [str(found["poll_bytes"]) for found in servers]
    shares = [f"{100 * found['core_share']:.1f} %" for found in servers]
    assert rows["share of the core"] == shares
