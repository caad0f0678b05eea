"""A release that hangs or crashes in its self-test ends a process of its own, and no other."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
from onnx import TensorProto, helper, numpy_helper

from edge.agent.isolated import _lifeline, isolated
from edge.agent.selftest import Verdict, self_test
from firnline.errors import DeliveryError
from tests.edge.agent import bundles
from tests.edge.agent.devices import PATIENCE_SECONDS, TREE, until
from tests.edge.agent.units import unit

_AGENT = """
import signal
import sys
from pathlib import Path
from edge.agent.isolated import isolated
signal.signal(signal.SIGIO, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGIO})
isolated(300.0)(Path(sys.argv[1]))
"""
_FORKING = """
import os
import signal
from edge.agent.isolated import _end_with_the_agent
_end_with_the_agent()
if started := os.fork():
    print(started, flush=True)
signal.pause()
"""


def hanging(folder: Path, encoder: int = 1) -> bundles.Made:
    """A release whose classifier opens, and never comes back from its first window."""
    return bundles.make(folder, encoder, files={"stages/classifier.int8.onnx": _endless()})


def _endless() -> bytes:
    """A graph that adds nothing to its input, 2**62 times (ONNX operators, Loop)."""
    value, wide = "encoder.residual", ["rows", bundles.WIDTH]
    names = {"classifier.fault_probability": wide, "score": wide, "flagged": wide}
    kinds = {"count": (TensorProto.INT64, []), "go": (TensorProto.BOOL, [])}
    kinds |= {name: (TensorProto.FLOAT, wide) for name in ("carried", "summed", value, *names)}
    kinds |= {"goes": (TensorProto.BOOL, []), "fault": (TensorProto.INT64, ["rows", 1])}
    ends = {name: helper.make_tensor_value_info(name, *kind) for name, kind in kinds.items()}
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["goes"]),
            helper.make_node("Add", ["carried", "nothing"], ["summed"]),
        ],
        "body",
        [ends["count"], ends["go"], ends["carried"]],
        [ends["goes"], ends["summed"]],
        [numpy_helper.from_array(np.zeros((1, 1), np.float32), "nothing")],
    )
    nodes = [
        helper.make_node("Loop", ["times", "true", value], ["score"], body=body),
        helper.make_node("Identity", ["score"], ["flagged"]),
        helper.make_node("Identity", ["score"], ["classifier.fault_probability"]),
        helper.make_node("ArgMax", ["score"], ["fault"], axis=1, keepdims=1),
    ]
    constants = [
        numpy_helper.from_array(np.array(1 << 62), "times"),
        numpy_helper.from_array(np.array(True), "true"),
    ]
    outputs = [ends[name] for name in (*names, "fault")]
    graph = helper.make_graph(nodes, "endless", [ends[value]], outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


@contextmanager
def at_it(slot: Path) -> Iterator[tuple["Future[Verdict]", psutil.Process]]:
    """A self-test under way in another thread, and its process."""
    with ThreadPoolExecutor(1) as pool:
        before = set(psutil.Process().children())
        test = pool.submit(isolated(PATIENCE_SECONDS), slot)
        until(lambda: set(psutil.Process().children()) - before)
        (child,) = set(psutil.Process().children()) - before
        yield test, child


def test_the_verdict_and_the_error_come_over(tmp_path: Path) -> None:
    made = bundles.make(tmp_path / "a")
    test = isolated(PATIENCE_SECONDS)
    assert test(made.folder) == self_test(made.folder)
    (made.folder / "golden/score.npy").unlink()
    with pytest.raises(DeliveryError) as here:
        self_test(made.folder)
    with pytest.raises(DeliveryError) as caught:
        test(made.folder)
    assert caught.value.document() == here.value.document()


def test_one_that_does_not_end_is_refused_and_the_next_release_comes(tmp_path: Path) -> None:
    with unit() as device:
        good = device.settle()
        bad = hanging(tmp_path / "bad", encoder=2)
        device.channel.publish(bad)
        with pytest.raises(DeliveryError, match="did not end within 2 s") as caught:
            device.pull(test=isolated(2.0))
        assert caught.value.code == "U22"
        assert not psutil.Process().children()
        assert device.runs == good.release
        assert device.state.refused[bad.release].code == "U22"
        assert device.pull().step == "refused"
        device.release(classifier=2)
        assert device.pull().step == "installed"


@pytest.mark.parametrize(
    ("number", "code", "found"),
    [
        (signal.SIGSEGV, "U22", "ended by a signal: Segmentation fault"),
        (signal.SIGKILL, "U22", "ended by a signal: Killed"),
        (signal.SIGTERM, "U45", "stopped: Terminated"),
    ],
)
def test_a_crash_is_the_releases_fault_and_a_stop_is_not(
    tmp_path: Path, number: int, code: str, found: str
) -> None:
    with at_it(hanging(tmp_path / "a").folder) as (test, child):
        child.send_signal(number)
        error = test.exception()
    assert isinstance(error, DeliveryError)
    assert (error.code, found in error.found) == (code, True), error


@pytest.mark.parametrize("program", ["/nowhere/python", "/bin/false"])
def test_where_no_process_can_be_had_nothing_is_held_against_the_release(
    tmp_path: Path, program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with unit() as device:
        first, second = device.settle(), device.settle(classifier=2)
        device.channel.publish(first)
        with monkeypatch.context() as patched:
            patched.setattr(sys, "executable", program)
            with pytest.raises(DeliveryError, match="U45"):
                device.pull(test=isolated(PATIENCE_SECONDS))
            assert device.runs == second.release
            third = device.release(classifier=3)
            with pytest.raises(DeliveryError, match="U45"):
                device.pull(test=isolated(PATIENCE_SECONDS))
        assert not device.state.refused
        assert {slot.release for slot in device.state.slots.values()} == {
            first.release,
            second.release,
        }
        assert device.pull().step == "installed"
        assert device.runs == third.release


def test_it_ends_with_the_agent_that_waits_for_it(tmp_path: Path) -> None:
    slot = hanging(tmp_path / "a").folder
    command = [sys.executable, "-c", _AGENT, str(slot)]
    with subprocess.Popen(command, cwd=TREE) as agent:
        until(lambda: psutil.Process(agent.pid).children())
        (child,) = psutil.Process(agent.pid).children()
        # It is in its graph once it has computed for a while.
        until(lambda: sum(child.cpu_times()[:2]) > 1.0)
        assert Path(f"/proc/{child.pid}/oom_score_adj").read_text() == "1000\n"
        agent.kill()
    try:
        until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)
    finally:
        with suppress(psutil.NoSuchProcess):
            child.kill()


def test_what_it_started_ends_with_it() -> None:
    with _lifeline() as stdin:
        child = subprocess.Popen(
            [sys.executable, "-c", _FORKING],
            cwd=TREE,
            stdin=stdin,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        grandchild = psutil.Process(int(child.stdout.readline()))
    try:
        until(lambda: not grandchild.is_running() or grandchild.status() == psutil.STATUS_ZOMBIE)
    finally:
        with suppress(psutil.NoSuchProcess):
            grandchild.kill()
        child.communicate()
