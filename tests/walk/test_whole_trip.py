"""The whole trip on one machine: trained, exported, published, pulled, scored, and walked back.

Publisher, server and device are processes of their own; the device scores rows of the feature
store, and every digest from its answer to the raw readings is computed again.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from edge.agent.score_records import answer_id, line
from firnline import wiring
from firnline.adapters.duckdb_features import compute
from firnline.adapters.duckdb_readings import clean, inspect
from firnline.adapters.dvc_data import snapshot
from firnline.cli.walk import walk_answer
from firnline.contracts.reading import load as load_contract
from firnline.digest import file_digest
from firnline.errors import ContractError, DeliveryError
from firnline.sim.fleet import FleetSpec
from firnline.sim.write import simulate
from firnline.workload import locate, views
from flows.walk import walk
from flows.walk_answer import find
from flows.walk_data import trained_on
from flows.walk_links import Walk
from flows.walk_release import exported
from tests.resources.project import Project

pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep.value:DeprecationWarning")

ROOT = Path(__file__).resolve().parents[2]
AGENT = (sys.executable, "-m", "edge.agent")
DEVICE, TARGET = "unit-00042", "cpu-x86_64"
PASSPHRASE = {"FIRNLINE_CHANNEL_PASSPHRASE": "correct horse battery staple"}
LINKS = [
    "answer",
    "bundle",
    "assignment",
    "release",
    "versions",
    "features",
    "data",
    "score",
    "training set",
    "snapshot",
    "windows",
    "readings",
]


@dataclass(frozen=True)
class Trip:
    """A project that has published, and a device that has scored.

    Attributes:
        project: The publisher's.
        release: Digest of what it published.
        device: Folder of the device.
        answers: What the device said, in the order of the rows.
    """

    project: Project
    release: str
    device: Path
    answers: list[dict[str, Any]]

    @property
    def log(self) -> Path:
        """The device's score log."""
        return self.device / "state" / "scores"

    @property
    def state(self) -> Path:
        """The publisher's state."""
        return self.project.folder / ".firnline"


@contextmanager
def at(project: Path) -> Iterator[None]:
    """The settings of a project, in this process."""
    names = {"FIRNLINE_PROJECT": str(project), "FIRNLINE_HOME": ".firnline", **PASSPHRASE}
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(names)
    wiring.settings.cache_clear()
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
        wiring.settings.cache_clear()


@contextmanager
def served(project: Project) -> Iterator[str]:
    """A channel's address, served by a process of its own."""
    server = project.start("channel", "serve", "--port", "0")
    try:
        assert server.stdout is not None
        (url,) = re.findall(r"http://[0-9.:]+", server.stdout.readline())
        yield url
    finally:
        server.terminate()
        server.communicate(timeout=60)
        assert server.returncode == 0


def agent(device: Path, command: str, *arguments: str, given: str = "") -> list[dict[str, Any]]:
    """What a command of the device's agent prints, a document a line."""
    done = subprocess.run(
        [*AGENT, command, *arguments, "--json", "--config", str(device / "agent.toml")],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "HOME": str(device)},
        input=given,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(text) for text in done.stdout.splitlines()]


def rows(training_set: Path, *places: int) -> str:
    """Rows of a training set as a device's sensors would hand them over, a line each."""
    table = pq.read_table(training_set)
    lines = []
    for place in places:
        (found,) = table.slice(place, 1).to_pylist()
        features = {name: value for name, value in found.items() if "__" in name}
        end = found["event_timestamp"].isoformat()
        asked = {"id": f"row-{place}", "key": found["device_id"], "window_end": end}
        lines.append(json.dumps({**asked, "row": features}))
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def trip(first: tuple[Project, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Trip:
    folder, device = tmp_path_factory.mktemp("trip"), tmp_path_factory.mktemp("device")
    for name in (".firnline", ".dvc", "data", "refrigeration"):
        shutil.copytree(
            first[0].folder / name,
            folder / name,
            ignore=shutil.ignore_patterns("mlflow", "prefect", "home"),
        )
    shutil.copy(first[0].folder / "data.dvc", folder)
    project = Project(folder, PASSPHRASE)
    made = project.json("channel", "init")
    where = ("--track", "stable", "--target", TARGET)
    published = project.json("channel", "publish", "refrigeration", *where)
    assert published["release"] == first[1]["bundle"]["digest"]
    with served(project) as url:
        place = ["--ensemble", "refrigeration", "--track", "stable", "--target", TARGET]
        trust = ["--root", made["root"], "--root-sha256", made["sha256"]]
        state = ["--device", DEVICE, "--state", str(device / "state")]
        agent(device, "init", "--url", url, *place, *trust, *state)
        (pulled,) = agent(device, "pull")
        assert pulled["release"] == published["release"]
    with at(folder):
        features = wiring.artifacts().find("refrigeration", "features")
    assert features is not None
    # The channel is gone; what was pulled scores on.
    asked = rows(features[0] / "training_set.parquet", 5, 9000, 18_000)
    answers = agent(device, "run", "--rows", "-", given=asked)
    return Trip(project, published["release"], device, answers)


def walked(trip: Trip, log: Path, wanted: str) -> Walk:
    with at(trip.project.folder):
        return walk(log, wanted)


def test_every_link_from_an_answer_to_its_readings_holds(trip: Trip) -> None:
    answer = trip.answers[1]
    document = trip.project.json("walk", answer["answer"][:10], "--log", str(trip.log))

    assert document["whole"]
    assert [link["link"] for link in document["links"]] == LINKS
    links = {link["link"]: link for link in document["links"]}
    assert document["answer"]["score"] == answer["score"]
    assert links["answer"]["digests"] == {"answer": answer["answer"]}
    assert links["bundle"]["digests"]["release"] == trip.release == answer["release"]
    assert list(links["assignment"]["digests"]) == ["stable, version 1"]
    slot = next((trip.device / "state" / "slots").glob("*/bundle.json"))
    (manifest,) = links["release"]["digests"].values()
    assert manifest == file_digest(slot)
    assert "bit for bit" in links["score"]["found"]
    assert "each in its raw file" in links["readings"]["found"]
    # Nothing is left behind.
    assert not list(trip.state.glob(".walk-*"))


def test_each_answer_is_found_by_its_request_and_the_newest_by_its_name(
    trip: Trip, capsys: pytest.CaptureFixture[str]
) -> None:
    assert find(trip.log, "row-5")["answer"] == trip.answers[0]["answer"]
    assert find(trip.log, "newest")["request"] == "row-18000"
    with pytest.raises(DeliveryError, match=r"W1.*none of its 3 answers"):
        find(trip.log, "ffffffff")
    with at(trip.project.folder), pytest.raises(SystemExit) as ended:
        walk_answer("newest", trip.log, None, as_json=False)
    assert ended.value.code == 0
    assert "every link holds: 12 of 12" in capsys.readouterr().out


def forged(trip: Trip, folder: Path, **changes: Any) -> Path:
    """A segment with the first answer changed, its line and its identity made to fit."""
    from edge.agent.scores import read

    record: dict[str, Any] = {**next(iter(read(trip.log))), **changes}
    if "answer" not in changes:
        named = (str(record[name]) for name in ("device", "release", "request", "features"))
        record["answer"] = answer_id(*named)
    path = folder / "open.jsonl"
    path.write_bytes(line(record))
    return path


@pytest.mark.parametrize(
    ("changes", "broken"),
    [
        ({"score": 0.123}, {"score": "W5"}),
        ({"flagged": True, "fault": "slow_leak"}, {"score": "W5"}),
        ({"answer": "0" * 32}, {"answer": "W2"}),
        ({"window_end": ""}, {"answer": "W2"}),
        ({"release": "0" * 64}, {"bundle": "W4"}),
        ({"features": "0" * 64}, {"features": "W6"}),
        ({"key": "REF-XX-0"}, {"features": "W6"}),
    ],
)
def test_an_altered_record_breaks_where_it_was_altered(
    trip: Trip, tmp_path: Path, changes: dict[str, Any], broken: dict[str, str]
) -> None:
    found = walked(trip, forged(trip, tmp_path, **changes), "newest")
    assert marks(found) == broken


@contextmanager
def altered(path: Path, change: Callable[[bytes], bytes | None]) -> Iterator[None]:
    """A file with other bytes, or gone, for a while."""
    before, mode = path.read_bytes(), path.stat().st_mode
    content = change(before)
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        path.write_bytes(before)
        path.chmod(mode)


def flipped(content: bytes) -> bytes:
    return content[:-9] + bytes([content[-9] ^ 1]) + content[-8:]


PLACES: Mapping[str, dict[str, str]] = {
    "channel/public/targets/stable/*.json": {"assignment": "V6"},
    "features/data/device_window_v1/parts/*/part-0[01].*": {"features": "P3", "data": "P3"},
    "artifacts/*/features/*/training_set.parquet": {"training set": "W7"},
    "artifacts/*/ingest/*/clean/*/hour=00/*.parquet": {"snapshot": "W8"},
}
"""Where a bit is altered, each under a link of its own -> what it breaks."""
BUNDLES = ("artifacts/*/export/*/bundle", "live/*")


@contextmanager
def damaged(trip: Trip, *patterns: str) -> Iterator[None]:
    """A bit of every such file is another for a while; those of other runs are among them."""
    paths = [path for pattern in patterns for path in trip.state.glob(pattern)]
    with ExitStack() as changes:
        for path in paths:
            changes.enter_context(altered(path, flipped))
        yield


def test_an_altered_bit_breaks_the_link_it_lies_under_and_no_other(trip: Trip) -> None:
    with damaged(trip, *PLACES):
        found = marks(walked(trip, trip.log, "row-5"))
    assert found == {link: code for broken in PLACES.values() for link, code in broken.items()}
    # A live model is a whole copy, which would do as well.
    with damaged(trip, *(f"{place}/stages/encoder.onnx" for place in BUNDLES)):
        assert marks(walked(trip, trip.log, "row-5")) == {"bundle": "W4"}
    assert marks(walked(trip, trip.log, "row-5")) == {}


def test_altered_records_of_the_readings_break_the_snapshot(trip: Trip) -> None:
    cache = trip.project.folder / ".dvc" / "cache" / "files" / "md5"
    largest = max(cache.rglob("*"), key=lambda path: path.stat().st_size if path.is_file() else 0)
    with at(trip.project.folder):
        manifest = exported(trip.release)[1].manifest
        assert trained_on(manifest)[0].digests["readings"] == manifest["snapshot"]["sha256"]
        with altered(largest, flipped), pytest.raises(ContractError, match="W8"):
            trained_on(manifest)


def test_without_the_channel_and_the_raw_files_the_rest_is_still_walked(
    trip: Trip, tmp_path: Path
) -> None:
    # Readings that were replaced since are proved by the cache.
    with altered(trip.project.folder / "data.dvc", lambda _: None), at(trip.project.folder):
        found = walk(trip.log, "row-5", tmp_path)
    assert marks(found) == {"assignment": "V1"}
    assert {link.name for link in found.links if link.mark == "unseen"} == {"release", "score"}
    assert "raw file" not in found.links[-1].seen.found


@pytest.fixture(scope="module")
def later(trip: Trip, tmp_path_factory: pytest.TempPathFactory) -> Trip:
    """The same, with readings that came in after the training, and an answer of one of them."""
    folder = tmp_path_factory.mktemp("later") / "project"
    shutil.copytree(trip.project.folder, folder)
    simulate(FleetSpec(devices=8, days=1, seed=99), folder / "newer")
    with at(folder):
        workload = locate("refrigeration", wiring.settings().project)
        contract = load_contract(workload.contract)
        taken = snapshot(folder / "newer", "refrigeration", folder, patterns=contract.patterns())

        def make(out: Path) -> dict[str, Any]:
            counts = clean(inspect(taken.path, contract), contract, out)
            return {"snapshot": taken.sha256, "dvc": taken.dvc, **counts.document()}

        wiring.artifacts().build("refrigeration", "ingest", "9" * 64, make)
        found = wiring.artifacts().find("refrigeration", "ingest", snapshot=taken.sha256)
        assert found is not None
        for view in views(workload):
            compute(view, found[0] / "clean", folder / "windows")
            wiring.feature_data().commit(view.table, view.digest(), folder / "windows" / view.table)
    asked = newest_row(folder / "windows")
    answers = agent(trip.device, "run", "--rows", "-", given=json.dumps(asked))
    return Trip(Project(folder), trip.release, trip.device, answers)


def newest_row(windows: Path) -> dict[str, Any]:
    """A device's last quarter of an hour, with the hour that had ended by then."""
    quarters, hours = (
        pq.read_table(windows / table).to_pylist()
        for table in ("device_window_v1", "device_hour_v1")
    )
    quarter = max(quarters, key=lambda row: (row["window_end"], row["device_id"]))
    hour = max(
        (row for row in hours if row["device_id"] == quarter["device_id"]),
        key=lambda row: (row["window_end"] <= quarter["window_end"], row["window_end"]),
    )
    features = {
        f"{name}__{column}": value
        for name, row in (("device_window", quarter), ("device_hour", hour))
        for column, value in row.items()
        if column not in {"device_id", "window_start", "window_end", "date"}
    }
    end = quarter["window_end"].isoformat()
    return {"id": "later", "key": quarter["device_id"], "window_end": end, "row": features}


def test_an_answer_about_newer_readings_is_walked_to_those(later: Trip) -> None:
    found = walked(later, later.log, "later")
    links = {link.name: link for link in found.links}
    assert found.whole, found.document()
    assert list(links) == [*LINKS[:-2], "newest snapshot", *LINKS[-2:]]
    assert "the newest data" in links["features"].seen.found
    # What the model learned from has been replaced, and is still proved.
    trained, newest = (links[name].seen.digests for name in ("snapshot", "newest snapshot"))
    assert trained["readings"] != newest["readings"]
    assert "each in its raw file" in links["readings"].seen.found


def marks(found: Walk) -> dict[str, str]:
    """Broken link -> code."""
    return {link.name: link.error.code for link in found.links if link.error}
