"""Peak memory of the agent's own processes, as the kernel counts it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.edge.agent import bundles, channels
from tests.edge.agent.devices import TREE, Device, device

MOST_KB = 150_000
BIG_BYTES = 16 << 20
_PROBE = """
import sys, threading, time
import psutil
from edge.agent.cli import main

others, going = [0], True

def watch():
    # What a self-test's process has for itself: its libraries are the agent's as well.
    while going:
        for child in psutil.Process().children():
            try:
                if 'edge.agent.isolated' in child.cmdline():
                    lines = open(f'/proc/{child.pid}/status').read().splitlines()
                    others.extend(int(line.split()[1]) for line in lines if 'RssAnon' in line)
            except (OSError, psutil.Error):
                pass
        time.sleep(0.002)

thread = threading.Thread(target=watch)
thread.start()
config, path = sys.argv[1:]
for command in (['pull'], ['verify'], ['run', '--rows', path]):
    assert main([*command, '--config', config]) == 0
going = False
thread.join()
peak = next(line for line in open('/proc/self/status') if line.startswith('VmHWM'))
print(peak.split()[1], max(others), file=sys.stderr)
"""

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/status").is_file(), reason="the kernel does not tell a process's peak"
)


def peaks_kb(unit: Device, rows: Path) -> tuple[int, int]:
    """Peak of a process that pulls, verifies and scores, and of its self-test's beside it.

    Not ru_maxrss: it begins with ours.
    """
    ended = subprocess.run(
        [sys.executable, "-c", _PROBE, str(unit.config_file), str(rows)],
        cwd=TREE, capture_output=True, text=True, check=True,
    )  # fmt: skip
    agent, beside = ended.stderr.splitlines()[-1].split()
    return int(agent), int(beside)


def test_an_update_and_scoring_stay_below_what_a_device_has(tmp_path: Path) -> None:
    # A large file among the release's shows that none is ever held whole.
    big = {"MODEL_CARD.md": bytes(BIG_BYTES)}
    made = channels.Channel(tmp_path / "channel")
    made.publish(bundles.make(tmp_path / "a", files=big))
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(f"{json.dumps({'row': [n % 7, 1, 2, 3]})}\n" for n in range(400)))
    with channels.serve(made.public) as site:
        unit = device(tmp_path / "d", site.url, made.root_bytes, bundles.ENSEMBLE, bundles.TARGET)
        agent, beside = peaks_kb(unit, rows)
    assert beside > 0
    assert agent + beside < MOST_KB
