"""Runs of `publish` that wait in vain or fail, on a real Prefect server: ended, or begun again."""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from edge.channel.repository import Repository
from edge.pack import pack
from firnline import wiring
from firnline.adapters.lock_file import read_lock, shipped_lock_path
from firnline.adapters.offer_folder import OfferFolder
from firnline.contracts.offer import Offer
from firnline.digest import tree_digest
from flows.failed_runs import MOST, Again, start_again
from tests.edge import small_bundles
from tests.edge.channel import stands

NAME = "refrigeration"
WORD = {"approver": "Ada", "track": "canary", "share": 0.25, "proved": True, "reason": "it won"}
EXPORT = "export"
(KEY,) = (uri.removeprefix("env:") for uri in stands.uris("cpu"))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project with a channel and an export, its settings those of this process."""
    folder = tmp_path_factory.mktemp("project")
    names = {
        "FIRNLINE_PROJECT": str(folder),
        "FIRNLINE_HOME": ".firnline",
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_LOGGING_TO_API_ENABLED": "false",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        **stands.make_keys(generations=1),
    }
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(names)
    wiring.settings.cache_clear()
    stands.make_channel(wiring.settings().channel_folder, bits=1)
    (folder / ".firnline" / "prefect").mkdir()
    yield folder
    for name, value in before.items():
        os.environ.pop(name) if value is None else os.environ.update({name: value})
    wiring.settings.cache_clear()


@pytest.fixture(scope="module")
def release(project: Path) -> str:
    """A bundle, as an export leaves it."""
    line = next(iter(read_lock(shipped_lock_path())))

    def make(out: Path) -> dict[str, Any]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(small_bundles, "VIEW", {line.reference: line.digest})
            found = replace(small_bundles.with_firmware(small_bundles.contents()), name=NAME)
            pack(out / "bundle", found)
        return {"bundle": tree_digest(out / "bundle")}

    return str(wiring.artifacts().build(NAME, EXPORT, "k" * 64, make)["bundle"])


@pytest.fixture(scope="module")
def client(project: Path) -> Iterator[Any]:
    """Talks to a server of its own."""
    from flows.local_server import connected, local_server

    with local_server(project / ".firnline") as server:
        from prefect.client.orchestration import get_client

        with connected(server()), get_client(sync_client=True) as found:
            yield found


TakeUp = Callable[[], Any]
Ask = Callable[..., tuple[Any, TakeUp]]


@pytest.fixture
def ask(client: Any) -> Iterator[Ask]:
    """Suspends a deployment's run for an offer, and gives what takes it up as a worker would."""
    from prefect.exceptions import Pause
    from prefect.flow_engine import run_flow

    from flows.publish import publish
    from flows.waiting_runs import question

    runs = []

    def suspended(offer: Offer, **given: Any) -> tuple[Any, TakeUp]:
        made = wiring.offers().offer(offer)
        deployment = client.create_deployment(client.create_flow(publish), name=NAME)
        given = given or {"ensemble": NAME, "release": offer.release}
        run = client.create_flow_run_from_deployment(
            deployment, parameters=given, idempotency_key=question(made)
        )
        runs.append(run.id)

        def taken_up() -> Any:
            fresh = client.read_flow_run(run.id)
            return run_flow(publish, flow_run=fresh, parameters=given, return_type="state")

        with pytest.raises(Pause):
            taken_up()
        return run.id, taken_up

    yield suspended
    for run in runs:
        client.delete_flow_run(run)
    for path in wiring.offers().root.glob("*.json"):
        path.unlink()


def looked(**options: Any) -> Again:
    return start_again(Repository(wiring.settings().channel_folder).state(), **options)


def offer(release: str) -> Offer:
    return Offer(NAME, release, "beta", {"cpu-x86_64": "accept", "cpu-arm64": "not run"})


def test_a_run_whose_offer_is_superseded_ends_with_the_reason(client: Any, ask: Ask) -> None:
    from flows.waiting_runs import end_superseded, release_settled

    old, new = offer("a" * 64), offer("b" * 64)
    run, _ = ask(old)
    newer, _ = ask(new)

    # As if the export had been killed before it ended the older run: the hourly look does so.
    assert (release_settled(), end_superseded(), end_superseded()) == (0, 1, 0)

    state = client.read_flow_run(run).state
    assert state.is_cancelled()
    assert "E98" in state.message
    assert "release bbbbbbbbbbbb was offered after it" in state.message
    assert client.resume_flow_run(run, WORD).status.name == "ABORT"
    assert client.read_flow_run(newer).state.name == "Suspended"
    assert looked() == Again()


def test_who_approves_what_is_superseded_is_refused(client: Any, ask: Ask) -> None:
    run, taken_up = ask(offer("a" * 64))
    wiring.offers().offer(offer("b" * 64))

    client.resume_flow_run(run, WORD)
    state = taken_up()

    assert state.is_cancelled()
    assert "E98" in state.message
    assert client.read_flow_run(run).state.is_cancelled()
    assert [each.release for each in wiring.offers().waiting()] == ["b" * 64]


def test_an_approved_run_that_failed_is_begun_again_and_asks_nobody(
    client: Any, ask: Ask, release: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, taken_up = ask(offer(release))
    client.resume_flow_run(run, WORD)
    with monkeypatch.context() as patch:
        patch.delenv(KEY)
        assert taken_up().is_failed()

    assert looked() == Again(started=(f"{NAME} {release[:12]}",))
    state = client.read_flow_run(run).state
    assert state.name == "AwaitingRetry"
    assert state.message.startswith(f"started again, 1 of {MOST}, after: ")
    assert "V2" in state.message
    assert looked() == Again()

    document = taken_up().result()
    assert document["reason"] == "Ada: to 25 % of canary, without cpu-arm64; it won"
    assert wiring.ledger().read(NAME) == [document]
    found = wiring.offers().get(NAME, release)
    assert found is not None
    assert (found.verdict, found.by) == ("published", "Ada")
    assert looked() == Again()


def test_what_a_killed_worker_left_is_begun_again_once_it_is_surely_dead(
    client: Any, ask: Ask, release: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect.states import Running

    def killed(*_: Any, **__: Any) -> None:
        raise OSError("no space left on device")

    before = len(wiring.ledger().read(NAME))
    run, taken_up = ask(offer(release))
    client.resume_flow_run(run, WORD)
    with monkeypatch.context() as patch:
        # The channel and the ledger have it, the offer does not.
        patch.setattr(OfferFolder, "settle", killed)
        assert taken_up().is_failed()
    client.set_flow_run_state(run, Running(), force=True)

    assert looked() == Again()
    assert looked(dead_after=timedelta(0)).started == (f"{NAME} {release[:12]}",)
    assert "its worker is gone" in client.read_flow_run(run).state.message
    assert taken_up().is_completed()
    assert len(wiring.ledger().read(NAME)) == before + 1
    found = wiring.offers().get(NAME, release)
    assert found is not None
    assert found.verdict == "published"


def test_somebody_who_retries_a_failed_run_is_not_asked_again(client: Any, ask: Ask) -> None:
    from prefect.states import AwaitingRetry, Failed

    run, taken_up = ask(offer("c" * 64))
    client.resume_flow_run(run, {"approver": "Bo", "approve": False})
    client.set_flow_run_state(run, Failed(message="the disk is full"), force=True)
    client.set_flow_run_state(run, AwaitingRetry())

    assert taken_up().result()["reason"] == "Bo: not published"


def test_a_publication_that_fails_for_good_is_told_with_what_to_type(client: Any, ask: Ask) -> None:
    gone = offer("d" * 64)
    run, taken_up = ask(gone)
    client.resume_flow_run(run, WORD)
    for number in range(1, MOST + 1):
        assert taken_up().is_failed()
        assert looked().started
        assert f"{number} of {MOST}" in client.read_flow_run(run).state.message
    assert taken_up().is_failed()

    found = looked()

    assert found == looked()
    assert not found.started
    (told,) = found.stuck
    assert f"approved by Ada, failed {MOST + 1} times: " in told
    assert "E97" in told
    assert (
        "`firnline channel publish refrigeration --track canary --share 25% --proved "
        "--reason 'it won'`"
    ) in told
    assert client.read_flow_run(run).state.is_failed()
    wiring.offers().settle(NAME, gone.release, verdict="published", by="Ada", reason="by hand")
    assert looked() == Again()


def test_a_run_whose_time_is_over_before_anybody_spoke_stays_ended(client: Any, ask: Ask) -> None:
    from prefect.states import Failed

    run, _ = ask(offer("e" * 64))
    client.set_flow_run_state(run, Failed(message="suspended and never resumed"), force=True)

    assert looked() == Again()
    assert client.read_flow_run(run).state.is_failed()


def test_a_word_on_one_release_is_none_on_the_next(client: Any, ask: Ask) -> None:
    """A run that names no release means whichever waits, and that may be another by now."""
    from prefect.exceptions import Pause

    run, taken_up = ask(offer("a" * 64), ensemble=NAME)
    wiring.offers().offer(offer("b" * 64))
    client.resume_flow_run(run, WORD | {"approve": False})

    with pytest.raises(Pause):
        taken_up()

    (waiting,) = wiring.offers().waiting()
    assert waiting.release == "b" * 64
    client.resume_flow_run(run, WORD | {"approve": False, "approver": "Bo"})
    assert taken_up().result()["inputs"] == {"bundle": "b" * 64}


def test_a_word_on_an_offer_that_was_superseded_counts_no_more_for_its_release(
    client: Any, ask: Ask
) -> None:
    run, taken_up = ask(offer("a" * 64))
    client.resume_flow_run(run, WORD)
    assert taken_up().is_failed()
    wiring.offers().offer(offer("b" * 64))
    assert wiring.offers().offer(offer("a" * 64)).verdict == "waiting"

    assert looked() == Again()
    assert client.read_flow_run(run).state.is_failed()


def test_a_refusal_that_cannot_be_written_down_names_no_command_that_publishes(
    client: Any, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError("no space left on device")

    run, taken_up = ask(offer("a" * 64))
    client.resume_flow_run(run, {"approver": "Bo", "approve": False})
    with monkeypatch.context() as patch:
        patch.setattr(OfferFolder, "settle", full)
        while not (found := looked()).stuck:
            assert taken_up().is_failed()

    (told,) = found.stuck
    assert "refused by Bo" in told
    assert "firnline channel" not in told
