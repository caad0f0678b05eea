"""One model for one target: compiled, run on the vectors, held to the reference and to budgets."""

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.compile import Artifact, Ran, compiler
from edge.decide import SCORE
from edge.export.model import Model
from edge.export.proof import Decisions, Proof, compare, decisions, reasons
from edge.session import exact_in_eight_bits
from firnline.contracts.target import Profile, over_budget
from firnline.digest import bytes_digest, digest
from firnline.errors import EvidenceError

PROOF = "proof.json"


@dataclass(frozen=True)
class Built:
    """A model on a target, judged.

    Attributes:
        model: What was exported.
        profile: The chip.
        artifact: What an edge team pulls.
        ran: What it computed; its values are left out once they are compared.
        proof: What was shown.
        figures: Everything measured: of the build, of the run.
    """

    model: Model
    profile: Profile
    artifact: Artifact
    ran: Ran
    proof: Proof
    figures: Mapping[str, int | float | None]

    @property
    def sha256(self) -> str:
        """Of the artifact: sha256 over its files' names and sha256s."""
        return self.proof.bound_to["artifact"]

    def record(self) -> dict[str, Any]:
        """The line that `firnline export --json` prints and benchmarks keep."""
        return {
            "model": self.model.name,
            "target": self.profile.name,
            "toolchain": ", ".join(f"{n} {v}" for n, v in self.artifact.toolchain.items()),
            "runner": self.ran.runner or None,
            "instructions": self.figures.get("instructions"),
            "macs": self.model.program.macs,
            "flash_bytes": self.figures.get("flash_bytes"),
            "ram_bytes": self.figures.get("ram_bytes"),
            "vectors": self.proof.vectors,
            "bytes_differ": None if self.proof.bytes is None else self.proof.bytes.differ,
        }

    def document(self) -> dict[str, Any]:
        """The record with the proof and the artifact's digest."""
        return {
            **self.record(),
            "proof": self.proof.document(),
            "artifact_sha256": self.sha256,
            "figures": dict(self.figures),
            "notes": [*self.artifact.notes, *self.ran.notes],
            "timings": dict(self.ran.timings),
        }


def build(model: Model, profile: Profile, folder: Path) -> Built:
    """Compile, run and judge; nothing is refused here, see `enforce`.

    Args:
        model: What to export.
        profile: Where to.
        folder: An empty folder to work in.

    Raises:
        DeliveryError: E40 to E69, a tool is missing or fails.
        HandshakeError: E30 to E39, E50 to E59, the target cannot compute an operation.
    """
    kind = compiler(profile.kind)
    artifact = kind.compile(model, profile, folder)
    ran = kind.run(artifact, model, profile)
    figures = {**artifact.figures, **ran.figures}
    proof = _proof(model, profile, artifact, ran, over_budget(profile, figures), exact=kind.EXACT)
    return Built(model, profile, artifact, ran, proof, figures)


def enforce(built: Built) -> None:
    """Stop an export whose gate does not accept.

    Raises:
        EvidenceError: E82, naming everything that speaks against the artifact.
    """
    if built.proof.verdict == "reject":
        raise EvidenceError(
            "E82",
            found="; ".join(built.proof.reasons),
            where=f"{built.model.name} on {built.profile.name}",
            mend="choose a larger chip or a smaller model where a budget is passed; keep layers "
            "in float ([quantize] mixed, float_layers) or relax [parity] knowingly where "
            "decisions differ; bytes that differ are a fault of the target: report them",
        )


def artifact_digest(files: Mapping[str, bytes]) -> str:
    """sha256 over the names and sha256s of an artifact's files."""
    return digest({name: bytes_digest(content) for name, content in files.items()})


def _proof(
    model: Model, profile: Profile, artifact: Artifact, ran: Ran, over: list[str], *, exact: bool
) -> Proof:
    found = compare(model.golden, ran.values) if ran.runner and ran.values else None
    decided = _decided(model, ran)
    against = (*reasons(found, decided, model.limits, exact=exact), *over)
    settled = "accept" if found or decided else "not run"
    return Proof(
        model=model.name,
        target=profile.name,
        verdict="reject" if against else settled,
        reasons=against,
        vectors=len(model.vectors if ran.scores is None else ran.scores),
        exact=exact,
        bytes=found,
        decisions=decided,
        bound_to=_bound_to(model, artifact),
        toolchain=artifact.toolchain,
        runner=ran.runner,
        host=f"{platform.machine()}, int8 {'exact' if exact_in_eight_bits() else 'saturates'}",
    )


def _bound_to(model: Model, artifact: Artifact) -> dict[str, str]:
    identity = {} if artifact.identity is None else {"identity": artifact.identity}
    return {"artifact": artifact_digest(artifact.files), **identity, **model.digests}


def _decided(model: Model, ran: Ran) -> Decisions | None:
    if model.rule is None or ran.scores is None:
        return None
    run = len(ran.scores)
    scores = (model.exact[SCORE][:run, 0], model.golden[SCORE][:run, 0], ran.scores)
    return decisions(model.rule, model.labels[:run], *scores)
