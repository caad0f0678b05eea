"""A release waits on a real Prefect server until somebody says so, and is published then."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edge.channel.repository import Repository
from firnline import wiring
from firnline.contracts.offer import Offer
from firnline.errors import DeliveryError
from firnline.workload import locate
from tests.edge.channel import stands
from tests.resources.project import Project

TARGETS = {"cpu-x86_64": "accept", "mcu-cortex-m4": "not run"}


@pytest.fixture(scope="module")
def project(
    first: tuple[Project, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """A project with a channel and an export, its settings those of this process."""
    folder = tmp_path_factory.mktemp("approval")
    exports = Path(".firnline") / "artifacts" / "refrigeration" / "export"
    shutil.copytree(first[0].folder / exports, folder / exports)
    names = {
        "FIRNLINE_PROJECT": str(folder),
        "FIRNLINE_HOME": ".firnline",
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_LOGGING_TO_API_ENABLED": "false",
        **stands.make_keys(generations=1),
    }
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(names)
    wiring.settings.cache_clear()
    stands.make_channel(wiring.settings().channel_folder, bits=1)
    yield folder
    for name, value in before.items():
        os.environ.pop(name) if value is None else os.environ.update({name: value})
    wiring.settings.cache_clear()


@pytest.fixture(scope="module")
def release(first: tuple[Project, dict[str, Any]]) -> str:
    return str(first[1]["bundle"]["digest"])


@pytest.fixture(scope="module")
def client(project: Path, first: tuple[Project, dict[str, Any]]) -> Iterator[Any]:
    """Talks to a server of its own."""
    from flows.local_server import connected, local_server

    # With the tables of the one that ran before: to make them takes longer than all the rest.
    shutil.copytree(first[0].folder / ".firnline" / "prefect", project / "prefect")
    (project / ".firnline" / "prefect").mkdir()
    with local_server(project / ".firnline") as server:
        from prefect.client.orchestration import get_client

        with connected(server()), get_client(sync_client=True) as found:
            yield found


@pytest.fixture
def waiting(client: Any, release: str) -> Iterator[tuple[Any, Callable[[], Any]]]:
    """A deployment's run that has been suspended, and what takes it up again, as a worker would."""
    from prefect.exceptions import Pause
    from prefect.flow_engine import run_flow

    from flows.publish import publish

    shutil.rmtree(wiring.offers().root, ignore_errors=True)
    wiring.offers().offer(Offer("refrigeration", release, "beta", TARGETS))
    deployment = client.create_deployment(client.create_flow(publish), name="refrigeration")
    parameters = {"ensemble": "refrigeration", "release": release}
    run = client.create_flow_run_from_deployment(deployment, parameters=parameters)

    def taken_up() -> Any:
        fresh = client.read_flow_run(run.id)
        return run_flow(publish, flow_run=fresh, parameters=parameters, return_type="state")

    with pytest.raises(Pause):
        taken_up()
    assert client.read_flow_run(run.id).state.name == "Suspended"
    assert nothing_published()
    yield run, taken_up
    client.delete_flow_run(run.id)


def nothing_published() -> bool:
    state = Repository(wiring.settings().channel_folder).state()
    return not any(state.ensembles(track) for track in ("canary", "beta", "stable"))


def test_a_refusal_publishes_nothing_and_is_kept(client: Any, waiting: Any, release: str) -> None:
    run, taken_up = waiting
    client.resume_flow_run(run.id, {"approver": "Bo", "approve": False, "reason": "too early"})
    document = taken_up().result()
    assert (document["verdict"], document["reason"]) == ("refused", "Bo: not published; too early")
    assert nothing_published()
    assert wiring.offers().get("refrigeration", release).verdict == "refused"


def test_what_was_settled_at_a_terminal_meanwhile_stands(
    client: Any, waiting: Any, release: str
) -> None:
    from flows.waiting_runs import release_settled

    run, taken_up = waiting
    assert release_settled() == 0
    wiring.offers().settle("refrigeration", release, verdict="refused", by="Cy", reason="Cy: no")
    assert release_settled() == 1
    assert client.read_flow_run(run.id).state.name == "Resuming"
    assert taken_up().result()["reason"] == "Cy: no"
    assert nothing_published()


def test_an_approval_publishes_and_is_kept(client: Any, waiting: Any, release: str) -> None:
    run, taken_up = waiting
    # A word that does not fit, or leaves open what becomes of a target, is none.
    for unfit in ({"share": 2, "proved": True}, {}, {"unproved": " "}, {"proved": False}):
        told = client.resume_flow_run(run.id, {"approver": "Ada", **unfit})
        assert told.status.name == "REJECT", unfit
    assert client.read_flow_run(run.id).state.name == "Suspended"
    word = {"approver": "Ada", "track": "canary", "share": 0.25, "reason": "the shadow won"}
    client.resume_flow_run(run.id, {**word, "proved": True})
    document = taken_up().result()

    assert document["verdict"] == "published"
    assert document["reason"] == "Ada: to 25 % of canary, without mcu-cortex-m4; the shadow won"
    assert (document["numbers"]["targets"], document["numbers"]["left_out"]) == tuple(TARGETS)
    state = Repository(wiring.settings().channel_folder).state()
    assignment = state.assignment("canary", "refrigeration")
    assert assignment is not None
    assert [(wave.share, wave.release) for wave in assignment.waves] == [(0.25, release)]
    assert list(assignment.pins[release]) == ["cpu-x86_64"]
    pin = assignment.pins[release]["cpu-x86_64"]
    assert document["inputs"] == {"bundle": release, "manifest cpu-x86_64": pin.sha256}
    assert wiring.ledger().read("refrigeration")[-1] == document
    offer = wiring.offers().get("refrigeration", release)
    assert (offer.verdict, offer.by) == ("published", "Ada")
    shown = [a for a in client.read_artifacts() if a.key == "refrigeration-publication"]
    assert document["reason"] in {artifact.description for artifact in shown}


def test_the_hourly_look_is_kept_and_fails_where_people_are_needed(
    client: Any, project: Path
) -> None:
    from flows.channel_watch import watch

    document = watch()
    assert (document["kind"], document["verdict"]) == ("channel", "healthy")
    assert wiring.ledger().read("channel") == [document]
    assert "channel-channel" in {artifact.key for artifact in client.read_artifacts()}
    for part in sorted((project / ".firnline/channel/public/parts").glob("*/*"))[:1]:
        part.unlink()
        with pytest.raises(DeliveryError, match="cannot be read") as caught:
            watch()
        assert caught.value.code == "V6"
        assert wiring.ledger().read("channel")[-1]["verdict"] == "needs people"


def test_an_export_in_a_deployment_starts_one_run_that_waits(
    client: Any, project: Path, release: str
) -> None:
    from prefect import flow
    from prefect.flow_engine import run_flow

    from flows.offers import offer
    from flows.publish import publish

    proofs = [{"target": name, "proof": {"verdict": told}} for name, told in TARGETS.items()]

    @flow(name="exporting")
    def exporting() -> None:
        exported = {"bundle": release, "targets": proofs}
        offer(locate("refrigeration", project), exported, {"parity": "accept: close"})

    def run() -> None:
        deployment = client.create_deployment(client.create_flow(exporting), name="refrigeration")
        found = client.create_flow_run_from_deployment(deployment)
        assert run_flow(exporting, flow_run=found, return_type="state").is_completed()

    shutil.rmtree(wiring.offers().root, ignore_errors=True)
    for flow_ in (publish, exporting):
        client.create_deployment(client.create_flow(flow_), name="refrigeration")
    run()
    run()
    started = [run for run in client.read_flow_runs() if run.idempotency_key == f"{release}-1"]
    assert [run.parameters for run in started] == [
        {"ensemble": "refrigeration", "release": release}
    ]
    assert [offer.judged for offer in wiring.offers().waiting()] == [{"parity": "accept: close"}]
    assert "refrigeration-offer" in {artifact.key for artifact in client.read_artifacts()}
