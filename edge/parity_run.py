"""Parity: the same rows through the float and the int8 graph, and a gate that can fail."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.session import integer_session
from firnline.contracts.quantize import Parity as ParityLimits
from firnline.decision import Decision
from firnline.errors import EvidenceError
from firnline.evidence.scores import DecisionRule, auc, known

BATCH_ROWS = 1024
"""Every run has this many rows: ONNX Runtime's sums differ in the last digit by batch size."""

FloatMatrix = NDArray[np.float32]


@dataclass(frozen=True)
class Parity:
    """How far int8 lies from float on the same rows.

    Attributes:
        rows: Rows scored.
        mean_score_difference: Mean of |float - int8|, in score units.
        max_score_difference: Its maximum.
        agreement: Share of rows with the same decision, 0 to 1.
        auc_float: AUC of the float scores on the labelled rows; None without both kinds.
        auc_int8: AUC of the int8 scores on the same rows.
        worst_row: Index of the row with the largest difference.
    """

    rows: int
    mean_score_difference: float
    max_score_difference: float
    agreement: float
    auc_float: float | None
    auc_int8: float | None
    worst_row: int

    def document(self) -> dict[str, Any]:
        """The figures as JSON."""
        return asdict(self)


def parity(
    float_model: bytes,
    int8_model: bytes,
    features: FloatMatrix,
    labels: NDArray[np.str_],
    rule: DecisionRule,
) -> Parity:
    """Score rows with both graphs and compare.

    Args:
        float_model: ONNX bytes.
        int8_model: ONNX bytes with the same input and outputs.
        features: Shape [rows, columns], at least one row.
        labels: Shape [rows]; empty text where unknown.
        rule: From outputs to scores and decisions.
    """
    exact = rule.scores(score(float_model, features, rule.output))
    rounded = rule.scores(score(int8_model, features, rule.output))
    difference = np.abs(exact.astype(np.float64) - rounded)
    counted = known(labels)
    faulty = rule.faults(labels[counted])
    return Parity(
        rows=len(features),
        mean_score_difference=float(difference.mean()),
        max_score_difference=float(difference.max()),
        agreement=float(np.mean(rule.decisions(exact) == rule.decisions(rounded))),
        auc_float=auc(faulty, exact[counted]),
        auc_int8=auc(faulty, rounded[counted]),
        worst_row=int(difference.argmax()),
    )


def score(model: bytes, features: FloatMatrix, *outputs: str) -> dict[str, NDArray[Any]]:
    """Outputs of a graph of one input, all when none is named, computed in batches of one size.

    Args:
        model: ONNX bytes; a graph whose batch is fixed runs a row at a time.
        features: Shape [rows, *input].
        outputs: Names of the outputs wanted.
    """
    session = integer_session(model)
    given = session.get_inputs()[0]
    size = BATCH_ROWS if not isinstance(given.shape[0], int) else given.shape[0]
    names = list(outputs) or [made.name for made in session.get_outputs()]
    parts: list[list[NDArray[Any]]] = []
    for place in range(0, max(len(features), 1), size):
        batch = np.zeros((size, *features.shape[1:]), np.float32)
        filled = features[place : place + size]
        batch[: len(filled)] = filled
        parts.append([made[: len(filled)] for made in session.run(names, {given.name: batch})])
    return {
        name: np.concatenate(blocks)
        for name, blocks in zip(names, zip(*parts, strict=True), strict=True)
    }


def gate(subject: str, found: Parity, limits: ParityLimits, inputs: dict[str, str]) -> Decision:
    """Whether int8 may stand for float: every limit of the manifest holds, or it may not.

    Args:
        subject: The ensemble's name.
        found: The comparison.
        limits: The manifest's `[parity]`.
        inputs: Digests of both models and of the rows.
    """
    breached = []
    # Written so that a NaN breaches every limit.
    if not found.agreement >= limits.min_agreement:
        breached.append(f"agreement {found.agreement:.4f} is below {limits.min_agreement:g}")
    if not found.mean_score_difference <= limits.max_mean_score_difference:
        breached.append(
            f"mean score difference {found.mean_score_difference:.4f} is above "
            f"{limits.max_mean_score_difference:g}"
        )
    if found.auc_float is not None and found.auc_int8 is not None:
        drop = found.auc_float - found.auc_int8
        if not drop <= limits.max_auc_drop:
            breached.append(f"AUC drop {drop:.4f} is above {limits.max_auc_drop:g}")
    agreed = f"int8 and float agree on {100 * found.agreement:.2f} % of {found.rows:,} rows"
    return Decision(
        kind="parity",
        subject=subject,
        verdict="reject" if breached else "accept",
        reason="; ".join(breached) or agreed,
        rules=("E1",),
        numbers={**found.document(), **limits.model_dump()},
        inputs=inputs,
    )


def enforce(decision: Decision) -> None:
    """Stop a release whose gate did not accept.

    Raises:
        EvidenceError: E1, naming every limit that was breached.
    """
    if decision.verdict != "accept":
        raise EvidenceError(
            "E1",
            found=decision.reason,
            where=f"parity of {decision.subject}, row {decision.numbers['worst_row']} worst",
            mend="quantise with clipped ranges or float outputs ([quantize] in ensemble.toml), "
            "retrain, or relax [parity] knowingly",
        )
