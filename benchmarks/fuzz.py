"""Whatever comes from outside, fuzzed: ``python -m benchmarks.fuzz`` (or ``make fuzz``).

Each harness of ``tests/fuzz/harness.py`` runs for so many seconds of CPU in a process of its own,
guided by coverage where atheris is installed; then its corpus is run over and over without the
fuzzer, which tells whether the agent itself grows. The corpus is kept between runs. Writes
``benchmarks/results/fuzz.json``; exit code 1 on a crash, a hang or growth.
"""

import argparse
import json
import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.fuzz.harness import HARNESSES
from tests.fuzz.run import HANG_SECONDS

LONG = {"metadata", "bundle"}
LONG_SECONDS, SHORT_SECONDS = 600.0, 120.0
REPLAY_SHARE = 0.1
MOST_GROWTH_BYTES = 20 << 20
RESULT = Path(__file__).parent / "results" / "fuzz.json"
CORPUS = Path(".firnline") / "fuzz"


def fuzzed(name: str, seconds: float, corpus: Path) -> dict[str, Any]:
    """One harness, and what came of it.

    Args:
        name: Of the harness.
        seconds: Of CPU.
        corpus: Folder of the corpora; inputs that failed go beside.
    """
    found = _process(name, seconds, corpus)
    after = _process(name, REPLAY_SHARE * seconds, corpus, "--replay")
    return {
        "harness": name,
        "by": found["by"],
        "executions": found["executions"],
        "refused": found["refused"],
        "cpu_seconds": found["cpu_seconds"],
        "corpus": found["corpus"],
        "slowest_ms": found["slowest_ms"],
        "crashes": {**found["faults"], **after["faults"]},
        "hangs": len(found["hangs"]) + len(after["hangs"]),
        "replays": after["executions"],
        "growth_mb": round(after["growth_bytes"] / (1 << 20), 2),
    }


def good(found: dict[str, Any]) -> bool:
    """Whether a harness neither crashed nor hung nor grew."""
    return (
        not found["crashes"] and not found["hangs"] and found["growth_mb"] < MOST_GROWTH_BYTES >> 20
    )


def _process(name: str, seconds: float, corpus: Path, *options: str) -> dict[str, Any]:
    """One run in a process of its own; one that dies without a word has crashed."""
    ended = subprocess.run(
        [
            sys.executable, "-m", "tests.fuzz.run", name, f"--seconds={seconds}",
            f"--corpus={corpus / name}", f"--faults={corpus / f'{name}-faults'}", *options,
        ],
        capture_output=True, text=True,
    )  # fmt: skip
    last = ended.stdout.strip().rpartition("\n")[2]
    if ended.returncode == 0 and last.startswith("{"):
        return dict(json.loads(last))
    told = f"the process ended with {ended.returncode}: {ended.stderr[-400:]}"
    return {
        "by": "nothing", "executions": 0, "refused": 0, "cpu_seconds": 0.0, "corpus": 0,
        "slowest_ms": 0.0, "faults": {told: ""}, "hangs": [], "growth_bytes": 0,
    }  # fmt: skip


def _write(results: list[dict[str, Any]]) -> None:
    """The results in their file, in place of those of the same harnesses."""
    before = json.loads(RESULT.read_text())["harnesses"] if RESULT.is_file() else []
    known = {found["harness"]: found for found in (*before, *results)}
    document = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "hang_seconds": HANG_SECONDS,
        "harnesses": [known[name] for name in HARNESSES if name in known],
    }
    RESULT.write_text(json.dumps(document, indent=1) + "\n")


def main() -> int:
    """Run the harnesses, write the results, and say whether all were good."""
    arguments = argparse.ArgumentParser(description="fuzz what parses on a device")
    arguments.add_argument(
        "harness", nargs="*", choices=[[], *HARNESSES], help="all where none is named"
    )
    arguments.add_argument(
        "--seconds", type=float, help="of CPU, for each; 600 or 120 where not given"
    )
    arguments.add_argument("--jobs", type=int, default=1, help="harnesses at once")
    arguments.add_argument("--corpus", type=Path, default=CORPUS, help="folder of the corpora")
    given = arguments.parse_args()

    def one(name: str) -> dict[str, Any]:
        seconds = given.seconds or (LONG_SECONDS if name in LONG else SHORT_SECONDS)
        return fuzzed(name, seconds, given.corpus)

    with ThreadPoolExecutor(given.jobs) as pool:
        results = []
        for found in pool.map(one, given.harness or list(HARNESSES)):
            results.append(found)
            print(json.dumps(found), flush=True)
            _write(results)
    return 0 if all(map(good, results)) else 1


if __name__ == "__main__":
    sys.exit(main())
