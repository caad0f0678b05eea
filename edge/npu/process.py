"""Work in the NPU tools' process: steps in, results out, through files in a folder of its own."""

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.npu.plan import Plan
from edge.toolchains import environment
from firnline.errors import DeliveryError

_WORKERS = {"npu": "worker.py", "qnn": "vendor_worker.py", "rknn": "vendor_worker.py"}
"""Environment -> the script beside this one that does its steps."""
_TAIL = 8
"""Lines of a tool's complaint that are shown."""
_SECONDS = 1800

Arrays = Sequence[NDArray[Any]]


def work(folder: Path, steps: Sequence[Mapping[str, Any]], chain: str = "npu") -> list[Any]:
    """Do steps in one process of a tool environment.

    Args:
        folder: For the files that pass between; made by the caller, who also removes it.
        steps: As the environment's worker knows them, in order.
        chain: The environment.

    Returns:
        The result of every step.

    Raises:
        DeliveryError: E60 or E61 without the environment; E63, a tool failed.
    """
    request, answer = folder / "request.json", folder / "answer.json"
    request.write_text(json.dumps(list(steps)), encoding="utf-8")
    worker = Path(__file__).with_name(_WORKERS[chain])
    command(chain, [str(worker), str(request), str(answer)], folder)
    results: list[Any] = json.loads(answer.read_text(encoding="utf-8"))
    return results


def command(chain: str, arguments: Sequence[str], folder: Path) -> str:
    """Run an environment's Python with arguments; what it prints.

    Raises:
        DeliveryError: E60 or E61 without the environment; E63 when the process fails, with its
            last words.
    """
    python = environment(chain)
    # Its own packages and nothing else: what this process was given must not leak in.
    hidden = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}
    kept = {name: value for name, value in os.environ.items() if name not in hidden}
    try:
        done = subprocess.run(
            [str(python), "-I", *arguments],
            cwd=folder,
            env=kept,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise _failed(chain, arguments, f"no answer within {_SECONDS} s") from error
    if done.returncode:
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise _failed(chain, arguments, "\n".join(lines[-_TAIL:]) or f"exit {done.returncode}")
    return done.stdout


def give_plan(folder: Path, plan: Plan, stem: str) -> dict[str, str]:
    """A plan written for a step; the step's fields that name it."""
    described, held = plan.save(folder, stem)
    return {"plan": described, "constants": held}


def give_rows(folder: Path, stem: str, inputs: Arrays) -> str:
    """Inputs in order, each [rows, ...], written for a step; the file."""
    path = folder / f"{stem}.npz"
    held = {f"i{place}": np.ascontiguousarray(rows) for place, rows in enumerate(inputs)}
    np.savez(path, **held)  # type: ignore[arg-type]
    return str(path)


def take_rows(path: Path) -> list[NDArray[np.int8]]:
    """Outputs of a run in order, each int8 [rows, elements]."""
    with np.load(path, allow_pickle=False) as held:
        return [held[f"o{place}"] for place in range(len(held.files))]


def _failed(chain: str, arguments: Sequence[str], found: str) -> DeliveryError:
    return DeliveryError(
        "E63",
        found=found,
        where=f"{Path(arguments[0]).name} of the {chain} tools",
        mend=f"install them anew (python -m edge.toolchains install {chain}); if it stays, "
        "the message names the operator to change",
    )
