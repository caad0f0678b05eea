"""The service: polls its channel, answers rows, and moves to a new release without a pause.

Four things go on beside each other, and none waits for another: rows are answered by one thread;
polls and updates happen in another; a watch sees each second to the health of a release on trial,
and to what was changed by hand; and the log and the supervisor's watchdog are fed by the thread
that answers, so that they starve when it hangs.
"""

import asyncio
import logging
import random
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from edge.agent import health, schedule
from edge.agent.config import Config
from edge.agent.fetch import Fetcher
from edge.agent.health import Standing
from edge.agent.isolated import isolated
from edge.agent.last_poll import noted
from edge.agent.listen import Listener
from edge.agent.lock import exclusive
from edge.agent.notify import tell, watchdog_seconds
from edge.agent.runner import Runner
from edge.agent.scores import FOLDER, LOCK, ScoreLog
from edge.agent.scoring import Scorer
from edge.agent.slots import hashed, measured
from edge.agent.state import FILES
from edge.agent.update import Outcome, update
from edge.disk import Disk, RealDisk
from firnline.errors import FirnlineError

T = TypeVar("T")
_LOG = logging.getLogger("firnline.agent")
_WATCH_SECONDS = 1.0
_LOCK_SECONDS = 1.0
_HASHED_SECONDS = 86400.0
"""How often a poll reads every file of what runs; the others measure them."""


def serve(config: Config) -> None:
    """Run until SIGTERM or SIGINT; SIGHUP polls at once.

    Args:
        config: The device's.

    Raises:
        DeliveryError: U25 another service runs, U30 the socket's path cannot be used.
    """
    # Who asks for the status holds the lock for an instant.
    with (
        exclusive(config.state, LOCK, _LOCK_SECONDS),
        Fetcher(config.url, config.limits) as fetcher,
    ):
        asyncio.run(_Service(config, RealDisk(), fetcher).run())


class _Service:
    """What the service holds while it runs."""

    def __init__(self, config: Config, disk: Disk, fetcher: Fetcher) -> None:
        self._config, self._disk, self._fetcher = config, disk, fetcher
        self._scorer = Scorer(
            config.device, None, ScoreLog(config.state / FOLDER, config.scores, disk)
        )
        # One thread answers: a release that hangs starves the watchdog, and so is fallen back from.
        self._worker = ThreadPoolExecutor(1, "scores")
        self._standing = Standing(None, None, None, False)
        self._since = time.monotonic()
        self._changed: tuple[int, ...] = ()
        self._hashed = time.monotonic()
        self._stop, self._poll_now = asyncio.Event(), asyncio.Event()
        self._failures, self._complaint = 0, ""

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._poll_now.set)
        await self._adopt(await _aside(partial(health.started, self._config, self._disk)))
        listener = await self._listener()
        tell(READY="1", STATUS=self._status())
        tasks = [asyncio.create_task(work()) for work in (self._tend, self._watch, self._poll)]
        try:
            stopped = asyncio.create_task(self._stop.wait())
            # They go on for ever; one that ends has failed, and the supervisor starts anew.
            await asyncio.wait([stopped, *tasks], return_when=asyncio.FIRST_COMPLETED)
        finally:
            tell(STOPPING="1")
            if listener is not None:
                await listener.close()
            await self._on_worker(self._scorer.close)
            self._worker.shutdown()
        for task in tasks:
            if task.done():
                task.result()
            task.cancel()
        if self._stop.is_set():
            await self._ended()

    async def _ended(self) -> None:
        """It was asked to stop and did: no sign of a crash loop."""
        with suppress(FirnlineError, OSError):
            watched = self._standing.manifest
            await _aside(partial(health.stopped, self._config, self._disk, watched))

    async def _listener(self) -> Listener | None:
        scoring = self._config.scoring
        if scoring.socket is None:
            return None

        async def answer(lines: Sequence[bytes]) -> list[dict[str, Any]]:
            return await self._on_worker(partial(self._scorer.answer, lines))

        listener = Listener(scoring.socket, scoring, answer)
        await listener.open()
        return listener

    async def _poll(self) -> None:
        """Ask the channel again and again, spread over the fleet."""
        draw = random.SystemRandom().random
        period, jitter = self._config.poll_seconds, self._config.jitter
        pause = schedule.first(period, self._standing.slot is not None, draw())
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._poll_now.wait(), pause)
            self._poll_now.clear()
            if await self._update():
                self._failures = 0
                pause = schedule.following(period, jitter, draw())
            else:
                self._failures += 1
                pause = schedule.retry(period, self._failures, draw())

    async def _update(self) -> bool:
        """Whether a poll was good; what it refused is told."""
        try:
            outcome = await _aside(self._ask)
        except FirnlineError as error:
            _LOG.warning("poll: %s", error)
            return False
        except Exception:
            # A device in the field goes on with what it runs, whatever a poll came to.
            _LOG.exception("poll")
            return False
        if outcome.refusal is not None:
            _LOG.warning("poll: %s", outcome.refusal)
        elif outcome.slot is not None:
            _LOG.info("%s release %s", outcome.step, (outcome.offered or "")[:12])
        return True

    def _ask(self) -> Outcome:
        """Poll, and keep how it went."""
        test, now = isolated(self._config.health.self_test_seconds), time.monotonic()
        # The start has read every file; flash is slow, and polls may be many.
        whole = measured if now - self._hashed < _HASHED_SECONDS else hashed
        with noted(self._config, self._disk) as note:
            outcome = update(self._config, self._disk, self._fetcher, test, whole=whole)
            note.outcome, note.error = outcome.step, outcome.refusal
        self._hashed = self._hashed if whole is measured else now
        return outcome

    async def _tend(self) -> None:
        """Have the log written and the supervisor told, however long a health command takes."""
        pause = min(_WATCH_SECONDS, watchdog_seconds() or _WATCH_SECONDS)
        while True:
            await self._on_worker(self._scorer.tick)
            tell(WATCHDOG="1", STATUS=self._status())
            await asyncio.sleep(pause)

    async def _watch(self) -> None:
        """See to everything that is not asked for from outside, about once a second."""
        while True:
            try:
                await self._follow()
                await self._judge()
                self._complaint = ""
            except (FirnlineError, OSError) as error:
                # A full disk or a lock that is held: it goes on, and is tried again.
                if str(error) != self._complaint:
                    self._complaint = str(error)
                    _LOG.warning("%s", error)
            await asyncio.sleep(_WATCH_SECONDS)

    async def _follow(self) -> None:
        """Answer with what the state names, whoever changed it: a poll, or somebody by hand."""
        path = self._config.state / FILES[0]
        with suppress(OSError):
            found = path.stat()
            changed = (found.st_mtime_ns, found.st_ino, found.st_size)
            if changed != self._changed:
                self._changed = changed
                await self._adopt(await _aside(partial(health.standing, self._config)))

    async def _judge(self) -> None:
        """Confirm a release on trial once it did well, and give it up when it fails."""
        rule, scorer = self._config.health, self._scorer
        if not self._standing.on_trial:
            return
        if scorer.failures >= rule.max_failures:
            await self._give_up(f"{scorer.failures} rows in a row failed: {scorer.trouble}")
        elif health.healthy(rule, time.monotonic() - self._since, scorer.answered):
            watched = self._standing.manifest
            await self._adopt(
                await _aside(partial(health.confirm, self._config, self._disk, watched))
            )

    async def _give_up(self, reason: str) -> None:
        """Fall back from what was watched; what was switched to meanwhile is none of it."""
        watched = self._standing.manifest
        await self._adopt(
            await _aside(partial(health.failed, self._config, self._disk, reason, watched))
        )

    async def _adopt(self, standing: Standing) -> None:
        """Answer with what is to run; a release whose graphs do not open is given up."""
        for problem in standing.problems:
            _LOG.warning("%s", problem)
        before, self._standing = self._standing, standing
        # One that did not open is opened once it may: its files are laid out anew where they wore.
        opened = standing.slot is None or self._scorer.runner is not None
        if standing.manifest == before.manifest and opened:
            return
        runner = None
        if standing.slot is not None:
            try:
                # What is believed opened before; only what is new is suspected of hanging.
                most = self._config.health.self_test_seconds if standing.on_trial else None
                runner = await asyncio.wait_for(_aside(partial(Runner, standing.slot)), most)
            except FirnlineError as error:
                _LOG.warning("%s", error)
            except TimeoutError:
                _LOG.warning("graphs in %s that do not open in %g s", standing.slot, most)
        await self._on_worker(partial(self._scorer.use, runner))
        self._since = time.monotonic()
        _LOG.info("running release %s", "none" if runner is None else runner.release[:12])
        if runner is None and standing.on_trial:
            await self._give_up("its graphs do not open")

    async def _on_worker(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._worker, work)

    def _status(self) -> str:
        runner = self._scorer.runner
        running = "nothing installed" if runner is None else f"release {runner.release[:12]}"
        trial = ", on trial" if self._standing.on_trial else ""
        failed = f", {self._failures} failed polls" if self._failures else ""
        return f"{running}{trial}, {self._scorer.answered} answers{failed}"


async def _aside(work: Callable[[], T]) -> T:
    """What a function gives, run in a thread that ends with the process.

    An update may be cut off at any byte, so nobody has to wait for it to stop the service.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if not future.done():
            if error is None:
                future.set_result(result)  # type: ignore[arg-type]
            else:
                future.set_exception(error)

    def run() -> None:
        result: T | None = None
        error: BaseException | None = None
        try:
            result = work()
        except BaseException as caught:
            error = caught
        with suppress(RuntimeError):  # The loop is closed: nobody waits any more.
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, daemon=True).start()
    return await future
