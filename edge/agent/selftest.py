"""The self-test: golden windows through the slot's own graphs, on this very machine."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edge.agent.npy import array
from edge.agent.runner import Answers, Runner, read_file, unfit
from edge.verify import read_manifest
from firnline.errors import DeliveryError

ROUNDING = 1 / 256
"""How far a score may lie from its golden one: one step of int8 over a range of one."""


@dataclass(frozen=True)
class Verdict:
    """How a slot answered its golden windows.

    Attributes:
        kind: `exact`, every score has the golden one's bytes; `rounded`, every decision is the
            golden one and no score lies further than `ROUNDING`. Machines without exact int8, and
            other versions of exp(), round.
        windows: Windows compared.
        difference: Largest difference of scores.
    """

    kind: Literal["exact", "rounded"]
    windows: int
    difference: float


def self_test(slot: Path) -> Verdict:
    """Run a slot's golden windows, and refuse it where it does not answer as it was proved to.

    Args:
        slot: Folder of a device bundle for a processor that runs ONNX graphs.

    Raises:
        DeliveryError: U22 an answer differs, with the window and the values; U13 a golden file
            lies; D1 to D7 the bundle is not whole.
    """
    runner = Runner(slot)
    manifest = read_manifest(slot)

    def golden(name: str) -> NDArray[Any]:
        file = f"golden/{name}.npy"
        return array(read_file(slot, manifest, file), f"{slot}, {file}")

    features, score = golden("features"), golden("score").reshape(-1)
    flagged = golden("flagged").reshape(-1) != 0
    if features.dtype != np.float32 or features.ndim != 2 or score.dtype != np.float32:
        raise unfit(f"golden windows of {features.dtype} {features.shape}", str(slot))
    if not len(features) == len(score) == len(flagged) > 0:
        raise unfit(f"{len(features)} golden windows, {len(score)} scores", str(slot))
    answers = _answers(runner, features, slot)
    _decisions(answers.flagged, flagged, "flagged", slot)
    if runner.classes:
        fault = golden("fault").reshape(-1)
        known = [
            runner.classes[place] if 0 <= place < len(runner.classes) else "" for place in fault
        ]
        _decisions(np.array(answers.fault), np.array(known), "fault", slot)
    return _scores(answers.score, score, slot)


def _answers(runner: Runner, features: NDArray[np.float32], slot: Path) -> Answers:
    try:
        return runner.score(features)
    except DeliveryError as error:
        raise unfit(error.found, str(slot)) from error
    except Exception as error:  # ONNX Runtime's errors have no other class in common.
        raise unfit(f"a graph that does not run: {str(error)[:200]}", str(slot)) from error


def _decisions(found: NDArray[Any], golden: NDArray[Any], name: str, slot: Path) -> None:
    if len(found) != len(golden):
        raise unfit(f"{len(golden)} golden windows for `{name}`, not {len(found)}", str(slot))
    wrong = np.flatnonzero(found != golden)
    if len(wrong):
        window = int(wrong[0])
        raise unfit(
            f"{name} is {found[window]}, golden {golden[window]}", f"{slot}, window {window}"
        )


def _scores(found: NDArray[np.float32], golden: NDArray[np.float32], slot: Path) -> Verdict:
    difference = np.abs(found.astype(np.float64) - golden)
    window = int(np.argmax(np.nan_to_num(difference, nan=np.inf)))
    # Written so that a NaN is refused.
    if not difference[window] <= ROUNDING:
        raise unfit(
            f"score {found[window]:.6f}, golden {golden[window]:.6f}", f"{slot}, window {window}"
        )
    exact = found.tobytes() == golden.tobytes()
    return Verdict("exact" if exact else "rounded", len(found), float(difference[window]))
