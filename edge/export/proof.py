"""The parity proof: what a target computed, held to the integer reference byte by byte.

It is bound to what was run: sha256 of the artifact, of the program, of the ONNX it was lowered
from and of the vectors, and to the tools' versions. A proof says nothing of other bytes.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firnline.contracts.quantize import Parity
from firnline.evidence.scores import DecisionRule, auc, known

Values = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Bytes:
    """A comparison byte by byte.

    Attributes:
        values: Names of the values compared.
        compared: Bytes compared.
        differ: Bytes that differ.
        rows_differ: Windows with at least one of them.
        worst_row: The window with most of them, None when there is none.
        worst_value: Where it differs most.
    """

    values: tuple[str, ...]
    compared: int
    differ: int
    rows_differ: int
    worst_row: int | None
    worst_value: str | None


def compare(golden: Values, found: Values) -> Bytes:
    """Hold values [rows, *shape] to the reference's of the same names.

    Raises:
        ValueError: A value has another shape or type than the reference's.
    """
    names = tuple(found)
    by_row: dict[str, NDArray[np.int64]] = {}
    compared = 0
    for name in names:
        wanted, given = golden[name], found[name]
        if wanted.shape != given.shape or wanted.dtype != given.dtype:
            raise ValueError(
                f"{name} is {given.dtype}{list(given.shape)}, the reference's is "
                f"{wanted.dtype}{list(wanted.shape)}"
            )
        by_row[name] = _differences(wanted, given)
        compared += wanted.nbytes
    total = sum(by_row.values(), np.zeros(_rows(found), np.int64))
    worst = int(total.argmax()) if total.any() else None
    return Bytes(
        values=names,
        compared=compared,
        differ=int(total.sum()),
        rows_differ=int(np.count_nonzero(total)),
        worst_row=worst,
        worst_value=None if worst is None else max(names, key=lambda name: by_row[name][worst]),
    )


@dataclass(frozen=True)
class Decisions:
    """Decisions and scores on the same windows: of the float model, the reference, the target.

    Attributes:
        agreement: Share of decisions equal to the reference's, 0 to 1.
        agreement_float: Share of decisions equal to the float model's.
        auc_float: Of the float model; None without labels of both kinds.
        auc_int8: Of the reference.
        auc_target: Of the target.
        max_score_difference: Greatest |float - target|, where both are numbers.
        worst_window: The window it is at.
    """

    agreement: float
    agreement_float: float
    auc_float: float | None
    auc_int8: float | None
    auc_target: float | None
    max_score_difference: float
    worst_window: int


def decisions(
    rule: DecisionRule,
    labels: NDArray[np.str_],
    exact: NDArray[np.float32],
    reference: NDArray[np.float32],
    target: NDArray[np.float32],
) -> Decisions:
    """Compare scores [rows] of the float model, the reference and the target.

    Args:
        rule: What makes a decision of a score.
        labels: Shape [rows]; empty text where unknown.
        exact: Of the float model.
        reference: Of the integer reference.
        target: Of the target.
    """
    counted = known(labels)
    faulty = rule.faults(labels[counted])
    # A window that lacks too much has no score, and JSON no word for that.
    with np.errstate(invalid="ignore"):
        difference = np.nan_to_num(np.abs(exact.astype(np.float64) - target), posinf=0.0)
    return Decisions(
        agreement=float(np.mean(rule.decisions(reference) == rule.decisions(target))),
        agreement_float=float(np.mean(rule.decisions(exact) == rule.decisions(target))),
        auc_float=auc(faulty, exact[counted]),
        auc_int8=auc(faulty, reference[counted]),
        auc_target=auc(faulty, target[counted]),
        max_score_difference=float(difference.max()),
        worst_window=int(difference.argmax()),
    )


@dataclass(frozen=True)
class Proof:
    """What was shown of one artifact.

    Attributes:
        model: The model's name.
        target: The target's.
        verdict: `accept`, `reject`, or `not run` where nothing here can run the artifact.
        reasons: What speaks against it, in words.
        vectors: Windows run.
        exact: Whether every byte had to be the reference's.
        bytes: The comparison; None where nothing ran.
        decisions: Beside the float model; None without a decision rule.
        bound_to: sha256 of `artifact`, `program`, `onnx`, `vectors` and `golden`; of a
            microcontroller's constants in flash as well, `identity`.
        toolchain: Tool -> version.
        runner: What ran it.
        host: Architecture of the machine, and whether its ONNX Runtime is exact in eight bits.
    """

    model: str
    target: str
    verdict: str
    reasons: tuple[str, ...]
    vectors: int
    exact: bool
    bytes: Bytes | None
    decisions: Decisions | None
    bound_to: Mapping[str, str]
    toolchain: Mapping[str, str]
    runner: str
    host: str

    def document(self) -> dict[str, Any]:
        """The proof as JSON."""
        return asdict(self)


def reasons(
    found: Bytes | None, decided: Decisions | None, limits: Parity, *, exact: bool
) -> tuple[str, ...]:
    """What speaks against an artifact, in words; empty when nothing does.

    The target is held to the reference: how far the reference may lie from float was settled on
    all held-out windows, when the model was quantised.

    Args:
        found: The comparison of bytes.
        decided: The comparison of decisions.
        limits: The manifest's `[parity]`.
        exact: Whether every byte and so every decision must be the reference's.
    """
    told = []
    if exact and found is not None and found.differ:
        told.append(
            f"{found.differ:,} of {found.compared:,} bytes differ from the integer reference, in "
            f"{found.rows_differ:,} windows, most in window {found.worst_row} at "
            f"{found.worst_value}"
        )
    if decided is None:
        return tuple(told)
    least = 1.0 if exact else limits.min_agreement
    if decided.agreement < least:
        told.append(f"decisions agree on {decided.agreement:.4f}, below {least:g}")
    if decided.auc_int8 is not None and decided.auc_target is not None:
        drop = decided.auc_int8 - decided.auc_target
        if drop > limits.max_auc_drop:
            told.append(f"AUC drops by {drop:.4f}, above {limits.max_auc_drop:g}")
    return tuple(told)


def _differences(wanted: NDArray[Any], given: NDArray[Any]) -> NDArray[np.int64]:
    """Bytes that differ in each row; a NaN has many forms, which count as one."""
    flat = (_one_nan(np.ascontiguousarray(side).reshape(len(side), -1)) for side in (wanted, given))
    left, right = (side.view(np.uint8).reshape(len(side), -1) for side in flat)
    counts: NDArray[np.int64] = np.count_nonzero(left != right, axis=1).astype(np.int64)
    return counts


def _one_nan(values: NDArray[Any]) -> NDArray[Any]:
    return (
        np.where(np.isnan(values), np.float32("nan"), values)
        if values.dtype.kind == "f"
        else values
    )


def _rows(values: Values) -> int:
    return max((len(value) for value in values.values()), default=0)
