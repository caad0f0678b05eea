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
import sys
from edge.agent.cli import main
config, path = sys.argv[1:]
for command in (['pull'], ['verify'], ['run', '--rows', path]):
    assert main([*command, '--config', config]) == 0
peak = next(line for line in open('/proc/self/status') if line.startswith('VmHWM'))
print(peak.split()[1], file=sys.stderr)
"""

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/status").is_file(), reason="the kernel does not tell a process's peak"
)


def peak_kb(unit: Device, rows: Path) -> int:
    """Peak of a process that pulls, verifies and scores. Not ru_maxrss: it begins with ours."""
    ended = subprocess.run(
        [sys.executable, "-c", _PROBE, str(unit.config_file), str(rows)],
        cwd=TREE, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return int(ended.stderr.splitlines()[-1])


def test_an_update_and_scoring_stay_below_what_a_device_has(tmp_path: Path) -> None:
    # A large file among the release's shows that none is ever held whole.
    big = {"MODEL_CARD.md": bytes(BIG_BYTES)}
    made = channels.Channel(tmp_path / "channel")
    made.publish(bundles.make(tmp_path / "a", files=big))
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(f"{json.dumps({'row': [n % 7, 1, 2, 3]})}\n" for n in range(400)))
    with channels.serve(made.public) as site:
        unit = device(tmp_path / "d", site.url, made.root_bytes, bundles.ENSEMBLE, bundles.TARGET)
        peak = peak_kb(unit, rows)
    assert peak < MOST_KB
