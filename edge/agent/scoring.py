"""From lines to answers: the runner of the moment, its log, and how well it does."""

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from edge.agent.rows import Request, parse, refusal
from edge.agent.runner import Answers, Runner
from edge.agent.score_records import answer_id, row_digest
from edge.agent.scores import ScoreLog
from firnline.errors import DeliveryError, FirnlineError


class Scorer:
    """Answers lines with the ensemble of the moment.

    Lines that came before a switch are answered by the release that was there; nothing waits for
    a switch, and nothing is answered by two. One thread uses it at a time.

    Args:
        device: The device's name.
        runner: What answers; None while nothing is installed.
        log: Where answers are kept; None to keep none.
        now: Time of day.
    """

    def __init__(
        self,
        device: str,
        runner: Runner | None,
        log: ScoreLog | None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._device, self._log, self._now = device, log, now
        self.use(runner)

    def use(self, runner: Runner | None) -> None:
        """Answer with another release from here on; what is counted begins anew."""
        self.runner = runner
        self.answered = 0
        self.failures = 0
        self.trouble = ""

    def answer(self, lines: Sequence[bytes]) -> list[dict[str, Any]]:
        """The answer to each line, in order; a line that is wrong is told so, and no other.

        Args:
            lines: Requests, a line each.
        """
        runner = self.runner
        if runner is None:
            return [refusal(line, nothing_installed()) for line in lines]
        answers: list[dict[str, Any]] = []
        requests: list[tuple[int, Request]] = []
        for place, line in enumerate(lines):
            answers.append({})
            try:
                requests.append((place, parse(line, runner.columns)))
            except DeliveryError as error:
                answers[place] = refusal(line, error)
        for place, request in requests:
            answers[place] = self._scored(runner, request)
        return answers

    def describe(self) -> dict[str, Any]:
        """What callers must know: the release, its columns in order, and its classes."""
        runner = self.runner
        if runner is None:
            return {"id": None, "error": nothing_installed().document()}
        return {
            "release": runner.release,
            "columns": list(runner.columns),
            "classes": list(runner.classes),
        }

    def tick(self) -> None:
        """Let the log write what has waited long enough."""
        if self._log is not None:
            self._log.tick()

    def close(self) -> None:
        """Have every answer on the disk."""
        if self._log is not None:
            self._log.flush()

    def _scored(self, runner: Runner, request: Request) -> dict[str, Any]:
        begun = time.perf_counter()
        try:
            answers = runner.score(request.row[None])
        except FirnlineError as error:
            return self._failed(request, error)
        except Exception as error:  # ONNX Runtime's errors have no other class in common.
            return self._failed(request, _broken(runner, error))
        self.failures = 0
        self.answered += 1
        spent = round(1000 * (time.perf_counter() - begun), 3)
        record = self._record(runner, request, answers, spent)
        if self._log is not None:
            self._log.add(record)
        kept = ("answer", "release", "score", "flagged", "fault", "ms")
        return {"id": request.id, **{name: record[name] for name in kept}}

    def _record(
        self, runner: Runner, request: Request, answers: Answers, spent: float
    ) -> dict[str, Any]:
        features = row_digest(request.row)
        return {
            "answer": answer_id(self._device, runner.release, request.id, features),
            "request": request.id,
            "at": self._now().isoformat(timespec="milliseconds"),
            "device": self._device,
            "key": request.key,
            "window_end": request.window_end,
            "release": runner.release,
            "features": features,
            "score": float(np.float32(answers.score[0])),
            "flagged": bool(answers.flagged[0]),
            "fault": answers.fault[0] if answers.fault else "",
            "ms": spent,
        }

    def _failed(self, request: Request, error: FirnlineError) -> dict[str, Any]:
        self.failures += 1
        self.trouble = f"[{error.code}] {error.found}"
        return {"id": request.id, "error": error.document()}


def nothing_installed() -> DeliveryError:
    """The error where no release is installed: U32."""
    return DeliveryError(
        "U32",
        found="nothing is installed",
        where="the agent's slots",
        mend="`firnline-agent pull` installs what the channel assigns to this device",
    )


def _broken(runner: Runner, error: Exception) -> DeliveryError:
    return DeliveryError(
        "U33",
        found=f"a graph that does not run: {str(error)[:200]}",
        where=f"release {runner.release[:12]}",
        mend="the device falls back when this goes on",
    )
