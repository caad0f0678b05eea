"""The report as data: figures, layers, accuracy, energy, and what would make it smaller."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from edge.decide import FAULT, FLAGGED
from edge.export.make import Built
from edge.export.model import Model
from edge.program import Dense, FloatDense, macs, parameters
from edge.report.advice import advice
from firnline.contracts.target import Profile

FORMAT = "firnline-report/1"


def document(built: Built) -> dict[str, Any]:
    """Everything the report tells, as JSON; it holds nothing that differs between two runs."""
    figures = built.figures
    layers = _layers(built)
    return {
        "format": FORMAT,
        **built.record(),
        "about": built.profile.about,
        "artifact_sha256": built.sha256,
        "verdict": built.proof.verdict,
        "reasons": list(built.proof.reasons),
        "figures": dict(figures),
        "budget": _budget(built.profile, figures),
        "layers": layers,
        "accuracy": _accuracy(built),
        "fidelity": fidelity(built.model),
        "energy": _energy(built.profile, figures),
        "advice": advice(layers, figures),
        "notes": [*built.artifact.notes, *built.ran.notes],
    }


def fidelity(model: Model) -> dict[str, float]:
    """Output -> root mean square of (int8 - float) over that of float, on the proof's windows.

    Decisions are left out: they agree or they do not.
    """
    found = {}
    for name in (name for name in model.program.outputs if name not in {FLAGGED, FAULT}):
        value = model.program.values[name]
        exact = model.exact.get(name)
        if exact is None or exact.dtype.kind != "f" or exact.size != model.golden[name].size:
            continue
        golden = model.golden[name].astype(np.float64).reshape(exact.shape)
        real = (golden - value.zero) * value.scale if value.dtype == "int8" else golden
        # A missing input can leave an output without a number.
        both = np.isfinite(exact) & np.isfinite(real)
        if not both.any():
            continue
        wanted = exact[both].astype(np.float64)
        scale = float(np.sqrt(np.mean(np.square(wanted))))
        error = float(np.sqrt(np.mean(np.square(real[both] - wanted))))
        found[name] = error / scale if scale else error
    return found


def _layers(built: Built) -> list[dict[str, Any]]:
    """A row an operation: what the target says of it, and what the program knows."""
    told = {str(row["name"]): dict(row) for row in built.artifact.layers}
    counted = built.ran.layers
    rows = []
    for step in built.model.program.operations:
        weights = sum(array.nbytes for name, array in parameters(step).items() if "." not in name)
        row: dict[str, Any] = {
            "name": step.name,
            "kind": type(step).__name__,
            "macs": macs(built.model.program, step),
            "weight_bytes": weights,
            "float": isinstance(step, FloatDense) or type(step).__name__.startswith("Float"),
            "batch_one_dense": isinstance(step, Dense),
        }
        row |= told.pop(step.name, {})
        if step.name in counted:
            row["instructions"] = counted[step.name]
        rows.append(row)
    return rows + list(told.values())


def _budget(profile: Profile, figures: Mapping[str, Any]) -> list[dict[str, Any]]:
    chip, budget = profile.memory, profile.budget
    limits = (
        ("flash_bytes", budget.max_flash or (chip.flash_kib * 1024 if chip else None)),
        ("ram_bytes", budget.max_ram or (chip.ram_kib * 1024 if chip else None)),
        ("instructions", budget.max_instructions),
        ("cycles", budget.max_cycles),
    )
    return [
        {"what": name, "taken": figures.get(name), "limit": limit}
        for name, limit in limits
        if limit is not None and figures.get(name) is not None
    ]


def _accuracy(built: Built) -> dict[str, Any] | None:
    decided = built.proof.decisions
    if decided is None:
        return None
    return {
        "windows": built.proof.vectors,
        "agreement": decided.agreement,
        "agreement_float": decided.agreement_float,
        "auc_float": decided.auc_float,
        "auc_int8": decided.auc_int8,
        "auc_target": decided.auc_target,
        "max_score_difference": decided.max_score_difference,
        "worst_window": decided.worst_window,
    }


def _energy(profile: Profile, figures: Mapping[str, Any]) -> dict[str, Any] | None:
    """At one cycle an instruction, so the least it can be; None without a published figure."""
    taken = figures.get("instructions")
    if profile.energy is None or taken is None:
        return None
    per_cycle = profile.energy.microjoules / profile.energy.cycles
    return {
        "microjoules_at_least": round(taken * per_cycle, 3),
        "picojoules_per_cycle": round(per_cycle * 1e6, 1),
        "source": profile.energy.source,
    }
