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
code = main(sys.argv[1:])
peak = next(line for line in open('/proc/self/status') if line.startswith('VmHWM'))
print(peak.split()[1], file=sys.stderr)
sys.exit(code)
"""

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/status").is_file(), reason="the kernel does not tell a process's peak"
)


def peak_kb(unit: Device, *arguments: str, rows: str = "") -> int:
    """Peak of one command. Not ru_maxrss: a child's begins with its parent's."""
    ended = subprocess.run(
        [sys.executable, "-c", _PROBE, *arguments, "--config", str(unit.config_file)],
        cwd=TREE, input=rows, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return int(ended.stderr.splitlines()[-1])


def test_an_update_and_scoring_stay_below_what_a_device_has(tmp_path: Path) -> None:
    # A large file among the release's shows that none is ever held whole.
    big = {"MODEL_CARD.md": bytes(BIG_BYTES)}
    made = channels.Channel(tmp_path / "channel")
    made.publish(bundles.make(tmp_path / "a", files=big))
    rows = "".join(f"{json.dumps({'row': [n % 7, 1, 2, 3]})}\n" for n in range(2000))
    with channels.serve(made.public) as site:
        unit = device(tmp_path / "d", site.url, made.root_bytes, bundles.ENSEMBLE, bundles.TARGET)
        peaks = {
            "pull": peak_kb(unit, "pull"),
            "verify": peak_kb(unit, "verify"),
            "run": peak_kb(unit, "run", "--rows", "-", rows=rows),
        }
    print("peak of each command in kB:", peaks)
    assert all(peak < MOST_KB for peak in peaks.values()), peaks
