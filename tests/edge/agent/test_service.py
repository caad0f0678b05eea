import asyncio
import json
import shutil
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from edge.agent.clock import utc_now
from edge.agent.fetch import Fetcher
from edge.agent.health import rollback, standing
from edge.agent.last_poll import Failure
from edge.agent.once import score
from edge.agent.scores import read
from edge.agent.service import _Service, serve
from edge.agent.status import status
from edge.disk import RealDisk
from firnline.errors import DeliveryError
from tests.edge.agent import bundles, channels
from tests.edge.agent.devices import Device, device, until
from tests.edge.agent.test_isolated import hanging
from tests.edge.agent.test_memory import MOST_KB
from tests.edge.agent.test_runner import logarithm
from tests.edge.agent.units import unit

ROW = json.dumps({"row": [0.5, -1, 2, 0.25]})


@pytest.fixture
def small(tmp_path: Path) -> Iterator[tuple[channels.Channel, Device]]:
    """A channel that assigns release A, and a device that confirms by one answer."""
    made = channels.Channel(tmp_path / "channel")
    made.publish(bundles.make(tmp_path / "a"))
    with channels.serve(made.public) as site:
        yield made, device(
            tmp_path / "device", site.url, made.root_bytes, bundles.ENSEMBLE, bundles.TARGET,
            health_confirm_seconds="0", health_max_failures="3",
        )  # fmt: skip


def peak_kb(process: int) -> int:
    """Peak memory of a process as the kernel tells it; 0 where it does not."""
    path = Path(f"/proc/{process}/status")
    lines = path.read_text().splitlines() if path.is_file() else []
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)


def release_of(ask: Any) -> str | None:
    return ask(ROW).get("release")


def test_it_installs_answers_and_moves_on_without_losing_a_request(
    small: tuple[channels.Channel, Device], tmp_path: Path
) -> None:
    channel, unit = small
    first, second = bundles.make(tmp_path / "a"), bundles.make(tmp_path / "b", classifier=2)
    with unit.service() as process, unit.caller() as ask:
        until(lambda: release_of(ask) == first.release)
        until(lambda: not standing(unit.config).on_trial)
        channel.publish(second)
        process.send_signal(signal.SIGHUP)
        seen: list[str] = []
        while second.release not in seen[-1:]:
            answer = ask(ROW)
            assert "error" not in answer, answer
            seen.append(answer["release"])
            time.sleep(0.01)
        assert release_of(ask) == second.release
        found = status(unit.config, utc_now())
        assert (found.release, found.running) == (second.release, True)
        assert peak_kb(process.pid) < MOST_KB
    assert not unit.socket.exists()
    kept = [item["release"] for item in read(unit.config.state / "scores")]
    assert kept == sorted(kept, key=[first.release, second.release].index)
    assert set(kept) == {first.release, second.release}
    assert len(kept) >= len(seen)


def test_a_slot_that_went_is_brought_back_while_rows_are_answered(
    small: tuple[channels.Channel, Device],
) -> None:
    _, unit = small
    made = unit.pull()
    slots = unit.config.state / "slots"
    with unit.service() as process, unit.caller() as ask:
        assert release_of(ask) == made.offered
        shutil.rmtree(slots)
        process.send_signal(signal.SIGHUP)
        until(lambda: not ask(ROW).get("error") and (slots / "a/bundle.json").is_file())
        assert release_of(ask) == made.offered


def test_what_did_not_open_while_it_was_laid_out_anew_is_opened_then() -> None:
    async def opened(folder: Path) -> tuple[Any, str]:
        service = _Service(unready.config, RealDisk(), fetcher)
        await service._adopt(standing(unready.config))
        before = service._scorer.runner
        folder.rename(slot)
        await service._adopt(standing(unready.config))
        return before, service._scorer.runner.release

    with unit() as unready, Fetcher(unready.config.url, unready.config.limits) as fetcher:
        made = unready.settle()
        slot = standing(unready.config).slot
        assert asyncio.run(opened(slot.rename(slot.with_name("away")))) == (None, made.release)


def test_a_release_that_fails_to_answer_is_fallen_back_from(
    small: tuple[channels.Channel, Device], tmp_path: Path
) -> None:
    channel, unit = small
    first = bundles.make(tmp_path / "a")
    with unit.service() as process, unit.caller() as ask:
        until(lambda: release_of(ask) == first.release)
        until(lambda: not standing(unit.config).on_trial)
        bad = failing(tmp_path / "bad")
        channel.publish(bad)
        process.send_signal(signal.SIGHUP)
        negative = json.dumps({"row": [-2, 0, 0, 0]})
        until(lambda: ask(negative).get("error", {}).get("code") == "U33")
        until(lambda: ask(negative).get("release") == first.release)
        found = status(unit.config, utc_now())
        assert found.release == first.release
        assert "rows in a row failed: [U33]" in found.refused[bad.release]


def test_a_self_test_that_hangs_is_refused_and_polls_go_on(
    small: tuple[channels.Channel, Device], tmp_path: Path
) -> None:
    channel, unit = small
    text = unit.config_file.read_text()
    unit.config_file.write_text(f"{text}\nself_test_seconds = 3\n")
    first, third = bundles.make(tmp_path / "a"), bundles.make(tmp_path / "b", classifier=2)
    unit.pull()
    with unit.service() as process, unit.caller() as ask:
        bad = hanging(tmp_path / "bad", encoder=2)
        channel.publish(bad)
        process.send_signal(signal.SIGHUP)
        until(psutil.Process(process.pid).children)
        for child in psutil.Process(process.pid).children():
            child.suspend()  # It hangs all the same, and leaves the processor to other tests.

        def error() -> Failure | None:
            assert release_of(ask) == first.release
            last = status(unit.config, utc_now()).last_poll
            return None if last is None else last.error

        until(error)
        told = error()
        assert told is not None
        assert (told.code, "did not end within 3 s" in told.found) == ("U22", True)
        assert "did not end" in status(unit.config, utc_now()).refused[bad.release]
        channel.publish(third)
        process.send_signal(signal.SIGHUP)
        until(lambda: release_of(ask) == third.release)


def test_a_stop_that_was_asked_for_is_no_part_of_a_crash_loop(
    small: tuple[channels.Channel, Device], tmp_path: Path
) -> None:
    _, unit = small
    unit.pull()
    with unit.service():
        assert status(unit.config, utc_now()).boots == 1
    found = status(unit.config, utc_now())
    assert (found.boots, found.confirmed) == (0, False)


def test_a_rollback_by_hand_reaches_the_running_service(
    small: tuple[channels.Channel, Device], tmp_path: Path
) -> None:
    channel, unit = small
    first, second = bundles.make(tmp_path / "a"), bundles.make(tmp_path / "b", encoder=2)
    assert unit.pull().offered == first.release
    channel.publish(second)
    assert unit.pull().step == "installed"
    with unit.service(), unit.caller() as ask:
        assert release_of(ask) == second.release
        assert rollback(unit.config, RealDisk()).release == first.release
        until(lambda: release_of(ask) == first.release)


def test_what_was_switched_to_meanwhile_is_not_confirmed_unwatched(
    small: tuple[channels.Channel, Device], tmp_path: Path
) -> None:
    channel, unit = small
    first, second = bundles.make(tmp_path / "a"), bundles.make(tmp_path / "b", encoder=2)
    begun, go = tmp_path / "begun", tmp_path / "go"
    command = f"touch {begun}; until test -e {go}; do sleep 0.05; done"
    text = unit.config_file.read_text()
    unit.config_file.write_text(f"{text}\ncommand = {json.dumps(['sh', '-c', command])}\n")
    unit.pull()
    with supervisor(tmp_path / "notify") as told, unit.service(
        NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="200000"
    ) as process, unit.caller() as ask:  # fmt: skip
        assert release_of(ask) == first.release
        until(begun.exists)
        fed = len(told)
        channel.publish(second)
        assert unit.pull().step == "installed"
        # However long the device's own command takes, the watchdog is fed.
        until(lambda: sum(b"WATCHDOG=1" in item for item in told[fed:]) >= 3)
        go.touch()
        assert process.stderr is not None
        while f"running release {second.release[:12]}" not in process.stderr.readline():
            assert process.poll() is None
        found = standing(unit.config)
        assert (found.release, found.on_trial) == (second.release, True)


def test_wrong_lines_busy_sockets_and_a_second_service_are_told(
    small: tuple[channels.Channel, Device], tmp_path: Path
) -> None:
    _, unit = small
    text = unit.config_file.read_text().replace(
        "[scoring]", "[scoring]\nconnections = 1\nline_bytes = 300"
    )
    unit.config_file.write_text(text)
    assert unit.pull().step == "installed"
    with unit.service():
        assert unit.socket.stat().st_mode & 0o777 == 0o660
        with unit.caller() as ask:
            assert ask('{"id": "r7", "row": [1]}')["error"]["code"] == "U31"
            assert ask(json.dumps({"id": "r8", "row": [1, 2, 3, None]}))["id"] == "r8"
            with unit.caller() as other:
                assert other()["error"]["code"] == "U35"
            lines = [json.dumps({"id": f"p{n}", "row": [n, 0, 0, 0]}) for n in range(20)]
            assert [ask(*lines)["id"], *(ask()["id"] for _ in lines[1:])] == [
                f"p{n}" for n in range(20)
            ]
        with pytest.raises(DeliveryError, match="another agent runs") as caught:
            serve(unit.config)
        assert caught.value.code == "U25"
        with pytest.raises(DeliveryError, match="U25"):
            list(score(unit.config, RealDisk(), [ROW.encode()]))

        def long() -> bool:
            # The caller before may not be gone yet, and then this one is sent away.
            with suppress(ConnectionError), unit.caller() as ask:
                found = ask("x" * 2000)
                return bool(found["error"]["found"] == "a line of more than 300 bytes")
            return False

        until(long)


@contextmanager
def supervisor(path: Path) -> Iterator[list[bytes]]:
    """What a service tells, until it says that it stops."""
    told: list[bytes] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(path))
        listening.settimeout(60)

        def listen() -> None:
            while b"STOPPING=1" not in told:
                told.append(listening.recv(1000))

        thread = threading.Thread(target=listen)
        thread.start()
        yield told
        thread.join(60)


def test_the_supervisor_is_told_and_its_watchdog_fed(
    small: tuple[channels.Channel, Device], tmp_path: Path
) -> None:
    _, unit = small
    with supervisor(tmp_path / "notify") as told, unit.service(
        NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="200000"
    ):  # fmt: skip
        until(lambda: any(b"WATCHDOG=1" in item and b"release" in item for item in told))
    assert told[0].startswith(b"READY=1\nSTATUS=nothing installed")
    assert told[-1] == b"STOPPING=1"


def test_a_path_where_something_else_lies_is_left_alone(tmp_path: Path) -> None:
    unit = device(tmp_path / "d", "http://127.0.0.1:9", b"{}", "small", "cpu-x86_64")
    unit.socket.write_text("precious")
    with pytest.raises(DeliveryError, match=r"U30.*a path where something else lies"):
        serve(unit.config)
    assert unit.socket.read_text() == "precious"


def failing(folder: Path) -> bundles.Made:
    """A release that passes its self-test, and has no answer for negative rows."""
    graph = {"stages/classifier.int8.onnx": logarithm()}
    made = bundles.make(folder, encoder=3, files=graph)
    rows = np.abs(bundles.rows(bundles.GOLDEN)) + np.float32(0.5)
    values = bundles.chain({**made.files, **graph}, rows)
    golden = {}
    for name in ("features", "score", "flagged", "fault"):
        value = values[name].astype(np.int32) if name == "fault" else values[name]
        stream = BytesIO()
        np.save(stream, value)
        golden[f"golden/{name}.npy"] = stream.getvalue()
    return bundles.make(folder, encoder=3, files={**graph, **golden})
