"""One harness for so many seconds of CPU: ``python -m tests.fuzz.run HARNESS --seconds 60``.

Coverage-guided by atheris where it is installed, else a seeded loop of mutants. A fault is written
to a file and the run goes on; faults of one place count once. Prints a JSON record.
"""

import argparse
import importlib.util
import json
import os
import shutil
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

from firnline.errors import FirnlineError
from tests.fuzz.mutate import mutant

HANG_SECONDS = 5.0
_ENDLESS_SECONDS = 120.0
_MEMORY = "/dev/shm"  # noqa: S108
_PAGE = os.sysconf("SC_PAGE_SIZE")
_MOST_BYTES = 1 << 16
_INSTRUMENTED = ["edge", "firnline", "tuf", "securesystemslib"]


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder in memory, where there is one: what is fuzzed syncs what it writes."""
    with TemporaryDirectory(dir=_MEMORY if os.access(_MEMORY, os.W_OK) else None) as folder:
        yield Path(folder)


@dataclass
class Watch:
    """A harness under watch.

    Attributes:
        run: The harness.
        kept: Folder that inputs with faults are written to.
        executions: Inputs so far.
        refused: Those that were refused by name.
        faults: Place -> file of the first input that failed there.
        hangs: Inputs that took longer than `HANG_SECONDS` of CPU.
        slowest: Longest of all, CPU seconds.
    """

    run: Callable[[bytes], None]
    kept: Path
    executions: int = 0
    refused: int = 0
    faults: dict[str, str] = field(default_factory=dict)
    hangs: list[str] = field(default_factory=list)
    slowest: float = 0.0
    _now: tuple[float, bytes] | None = None

    def __call__(self, data: bytes) -> None:
        """One input."""
        self.executions += 1
        begun = time.process_time()
        self._now = time.monotonic(), data
        try:
            self.run(data)
        except FirnlineError:
            self.refused += 1
        except Exception as error:
            place = _place(error)
            if place not in self.faults:
                self.faults[place] = self._keep(data)
        self._now = None
        spent = time.process_time() - begun
        self.slowest = max(self.slowest, spent)
        if spent > HANG_SECONDS:
            self.hangs.append(self._keep(data))

    @contextmanager
    def guarded(self, ended: Callable[[], object]) -> Iterator[None]:
        """End the process when one input never ends, once it was written down."""
        over = threading.Event()

        def look() -> None:
            while not over.wait(1.0):
                now = self._now
                if now is not None and time.monotonic() - now[0] > _ENDLESS_SECONDS:
                    self.hangs.append(self._keep(now[1]))
                    ended()
                    os._exit(1)

        thread = threading.Thread(target=look, daemon=True)
        thread.start()
        yield
        over.set()
        thread.join()

    def _keep(self, data: bytes) -> str:
        path = self.kept / f"fault-{len(list(self.kept.iterdir())):03d}"
        path.write_bytes(data)
        return path.name


def resident() -> int:
    """Bytes of memory this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE


def replay(watch: Watch, inputs: list[bytes], seconds: float) -> int:
    """Run inputs over and over.

    Returns:
        Bytes by which the process has grown since every input had run once.
    """
    begun, before = time.process_time(), 0
    while not before or time.process_time() - begun < seconds:
        for data in inputs:
            watch(data)
        before = before or resident()
    return resident() - before


def loop(watch: Watch, seeds: list[bytes], rng: Random, enough: Callable[[], bool]) -> None:
    """Mutants of the seeds, and of mutants, until it is enough."""
    pool = list(seeds)
    for data in seeds:
        watch(data)
    while not enough():
        # Half of them are one step from what is right: mutants of mutants soon are noise.
        data = mutant(rng.choice(seeds if rng.random() < 0.5 else pool), rng)[:_MOST_BYTES]
        watch(data)
        if len(pool) < 256:
            pool.append(data)
        elif rng.random() < 0.05:
            pool[rng.randrange(len(seeds), len(pool))] = data


def _guided(watch: Watch, corpus: Path, seed: int, leave: Callable[[], object]) -> None:
    """The same by coverage; it never returns, so `leave` ends the process in time."""
    import atheris

    def one(data: bytes) -> None:
        watch(data)
        leave()

    def mutate(data: bytes, most: int, number: int) -> bytes:
        rng = Random(number)  # noqa: S311
        if rng.random() < 0.4:
            return bytes(atheris.Mutate(data, most))
        return mutant(data, rng)[:most]

    arguments = [
        sys.argv[0], str(corpus), f"-max_len={_MOST_BYTES}", f"-seed={seed}", "-rss_limit_mb=2048",
        "-len_control=0", "-verbosity=0", "-print_final_stats=0", f"-artifact_prefix={watch.kept}/",
    ]  # fmt: skip
    atheris.Setup(arguments, one, custom_mutator=mutate)
    atheris.Fuzz()


def _place(error: BaseException) -> str:
    """What failed and where, the last line of the project's or a library's."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {Path(frame.filename).name}:{frame.lineno}"


def _made(name: str, folder: Path, guided: bool) -> Any:
    if not guided:
        from tests.fuzz.harness import HARNESSES

        return HARNESSES[name](folder)
    import atheris

    with atheris.instrument_imports(include=_INSTRUMENTED):
        from tests.fuzz.harness import HARNESSES
    return HARNESSES[name](folder)


@dataclass
class Run:
    """One run of a harness.

    Attributes:
        given: What was asked for.
        guided: Whether coverage guides it.
        watch: The harness.
        begun: CPU seconds at its beginning.
    """

    given: argparse.Namespace
    guided: bool
    watch: Watch
    begun: float = field(default_factory=time.process_time)

    def enough(self) -> bool:
        """Whether its time is over."""
        return time.process_time() - self.begun >= self.given.seconds

    def told(self, growth: int = 0) -> None:
        """Print what came of it."""
        watch = self.watch
        record = {
            "harness": self.given.harness,
            "by": "replay" if self.given.replay else "atheris" if self.guided else "mutants",
            "executions": watch.executions,
            "refused": watch.refused,
            "cpu_seconds": round(time.process_time() - self.begun, 1),
            "corpus": len(list(self.given.corpus.iterdir())),
            "faults": watch.faults,
            "hangs": watch.hangs,
            "slowest_ms": round(1000 * watch.slowest, 1),
            "growth_bytes": growth,
        }
        print(json.dumps(record), flush=True)

    def go(self, seeds: list[bytes], folder: Path) -> int:
        """Run it to its end.

        Returns:
            Bytes by which the process has grown, with `replay`.
        """
        corpus, seed = self.given.corpus, self.given.seed
        inputs = [*seeds, *(path.read_bytes() for path in sorted(corpus.iterdir()))]
        if self.given.replay:
            return replay(self.watch, inputs, self.given.seconds)
        if not self.guided:
            loop(self.watch, inputs, Random(seed), self.enough)  # noqa: S311
            return 0

        def leave() -> None:
            if self.enough():
                self.told()
                shutil.rmtree(folder)
                os._exit(0)

        for place, data in enumerate(seeds):
            (corpus / f"seed-{place:02d}").write_bytes(data)
        _guided(self.watch, corpus, seed, leave)
        return 0


def _arguments() -> argparse.Namespace:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("harness")
    arguments.add_argument("--seconds", type=float, default=60.0, help="of CPU")
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--corpus", type=Path, required=True, help="of inputs; it grows")
    arguments.add_argument("--faults", type=Path, required=True, help="of inputs that failed")
    arguments.add_argument("--replay", action="store_true", help="no mutants: memory alone")
    return arguments.parse_args()


def main() -> None:
    """Run one harness and print what came of it."""
    given = _arguments()
    guided = importlib.util.find_spec("atheris") is not None and not given.replay
    for folder in (given.corpus, given.faults):
        folder.mkdir(parents=True, exist_ok=True)
    with scratch() as folder:
        harness = _made(given.harness, folder, guided)
        run = Run(given, guided, Watch(harness.run, given.faults))
        with run.watch.guarded(run.told):
            growth = run.go(list(harness.seeds), folder)
        run.told(growth)


if __name__ == "__main__":
    main()
