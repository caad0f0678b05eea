"""The fleet simulator's speed and memory: ``python benchmarks/simulate.py``.

CPU-seconds are of the process with all its threads, imports and first-use caches excluded.
Each size runs in a process of its own, so that its peak of resident memory is its own.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from firnline.sim.fleet import Fleet, FleetSpec
from firnline.sim.hours import hours
from firnline.sim.write import simulate

SIZES = ((200, 7), (500, 2), (1024, 1), (5000, 2), (20000, 1))


def measure(devices: int, days: int) -> str:
    """Returns one line of the table, measured in this process."""
    with tempfile.TemporaryDirectory() as folder:
        simulate(FleetSpec(devices=8, days=1), Path(folder) / "warm")
        fleet = Fleet(FleetSpec(devices=min(devices, 1024), days=min(days, 2)))
        begin = time.process_time()
        generated = sum(
            block.latency_tenths.size for n in range(fleet.chunks) for block in hours(fleet, n)
        )
        generate = generated / (time.process_time() - begin)
        begin = time.process_time()
        summary = simulate(FleetSpec(devices=devices, days=days), Path(folder) / "out")
        write = summary.readings / (time.process_time() - begin)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    per_row = summary.bytes / summary.readings
    return (
        f"{devices:>8,} {days:>5} {summary.readings:>12,} {generate / 1e6:>10.2f} "
        f"{write / 1e6:>10.2f} {per_row:>8.1f} {peak:>8.0f}"
    )


def main() -> None:
    """Prints the table, or one line of it when a size is given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("size", nargs="*", type=int, help="devices and days")
    size = parser.parse_args().size
    if size:
        print(measure(size[0], size[1]))
        return
    print(" devices  days     readings   M/CPU-s   M/CPU-s   B/row   MB RSS")
    print("                            generate  and write")
    for devices, days in SIZES:
        subprocess.run([sys.executable, __file__, str(devices), str(days)], check=True)


if __name__ == "__main__":
    main()
