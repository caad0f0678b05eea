"""The self-test in a process of its own: a release that hangs or crashes there costs nothing here.

No thread can be ended from outside, and a graph that never comes back may hold the interpreter. So
what is not known yet is opened by a child, which is given up after a time, and which the kernel
ends with the agent that waits for it.
"""

import fcntl
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from edge.agent.runner import unfit
from edge.agent.selftest import Verdict, self_test
from firnline.errors import DeliveryError, FirnlineError

_TREE = Path(__file__).parents[2]
"""What `edge` was imported from, an environment or a source tree; the child does so too."""
_OOM = Path("/proc/self/oom_score_adj")
_TOLD = ("found", "where", "mend")
_STOPPED = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
"""Signals of somebody who wants it to end, such as a supervisor that stops the service."""


def isolated(seconds: float) -> Callable[[Path], Verdict]:
    """The self-test of a slot, which ends within a time whatever the release does.

    Args:
        seconds: Longest time it may take, the start of its process included.

    Returns:
        What runs a slot's golden windows, as `edge.agent.selftest.self_test`, and raises its
        errors; U22 also where the release ends the process, or does not come back in time; U45
        where it cannot be tested here, which is no fault of the release.
    """

    def run(slot: Path) -> Verdict:
        try:
            with _lifeline() as stdin:
                child = subprocess.run(
                    [sys.executable, "-m", __name__, str(slot.absolute())],
                    cwd=_TREE,
                    stdin=stdin,
                    stdout=subprocess.PIPE,
                    timeout=seconds,
                    start_new_session=True,  # Ctrl-C is for the agent alone.
                )
        except subprocess.TimeoutExpired as error:
            raise unfit(f"it did not end within {seconds:g} s", str(slot)) from error
        except OSError as error:
            raise _untested(f"no process for it: {error.strerror or error}", slot) from error
        return _read(child.stdout, child.returncode, slot)

    return run


@contextmanager
def _lifeline() -> Iterator[int]:
    """One end of a pipe, whose other end closes with the block or the agent, however it ends."""
    theirs, ours = os.pipe()
    try:
        yield theirs
    finally:
        os.close(theirs)
        os.close(ours)


def main(slot: Path) -> int:
    """The child: one line of JSON, a verdict or an error.

    Args:
        slot: Folder of a device bundle.

    Returns:
        The exit code.
    """
    _end_with_the_agent()
    with suppress(OSError):
        # Where memory runs out this process goes, and not the agent that answers rows (proc(5)).
        _OOM.write_text("1000", encoding="ascii")
    try:
        found = asdict(_tested(slot))
    except FirnlineError as error:
        found = error.document()
    print(json.dumps(found), flush=True)
    return 0


def _tested(slot: Path) -> Verdict:
    try:
        return self_test(slot)
    except FirnlineError:
        raise
    except Exception as error:  # ONNX Runtime raises several unrelated kinds.
        told = str(error).partition("\n")[0][:200]
        raise unfit(f"it ended with {type(error).__name__}: {told}", str(slot)) from error


def _end_with_the_agent() -> None:
    """Have the kernel end this process, and what it starts, when its standard input is closed.

    Not a thread that waits for it, which a graph that holds the interpreter would keep from
    running: the signal that tells of it (fcntl(2), O_ASYNC) ends a process that does not ask for
    it. Who started the agent may have ignored or blocked it, which a child inherits.
    """
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGIO})
    fcntl.fcntl(sys.stdin, fcntl.F_SETOWN, -os.getpgrp())
    fcntl.fcntl(sys.stdin, fcntl.F_SETFL, fcntl.fcntl(sys.stdin, fcntl.F_GETFL) | os.O_ASYNC)
    if select.select([sys.stdin], [], [], 0)[0]:
        sys.exit("the agent has ended")


def _read(answer: bytes, code: int, slot: Path) -> Verdict:
    """What a child said, or how it ended."""
    if code < 0:
        told = signal.strsignal(-code) or f"signal {-code}"
        if -code in _STOPPED:
            raise _untested(f"its process was stopped: {told}", slot)
        raise unfit(f"its process ended by a signal: {told}", str(slot))
    try:
        found = json.loads(answer.splitlines()[-1])  # A library may have printed before.
        if "code" not in found:
            return Verdict(**found)
        refusal = DeliveryError(found["code"], **{key: found[key] for key in _TOLD})
    except (ValueError, LookupError, TypeError) as error:
        raise _untested(f"its process ended with {code} and no answer", slot) from error
    raise refusal


def _untested(found: str, slot: Path) -> DeliveryError:
    return DeliveryError(
        "U45",
        found=f"the self-test cannot be run: {found}",
        where=str(slot),
        mend="let the agent start processes, and see its log; the device keeps what it runs, and "
        "tries again",
    )


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
