"""Step 1: raw readings -> data contract -> clean readings; what fails is kept in quarantine."""

from pathlib import Path

from prefect import flow

from firnline import wiring
from firnline.contracts.reading import ReadingContract
from firnline.contracts.reading import load as load_contract
from firnline.digest import digest
from firnline.errors import ContractError
from firnline.workload import Workload, locate
from flows.progress import reporter
from flows.steps import Document, Results, Step, code, run_step

_CODE = (
    "firnline.contracts.reading",
    "firnline.adapters.duckdb_readings",
    "firnline.adapters.reading_files",
    "firnline.adapters.reading_open",
    "firnline.adapters.reading_rules",
    "firnline.adapters.reading_scan",
    "firnline.adapters.reading_side",
    "firnline.adapters.reading_sql",
    "firnline.adapters.reading_stage",
    "firnline.adapters.reading_write",
)


@flow(name="ingest", validate_parameters=False)
def ingest(ensemble: str, data: str | None = None) -> Results:
    """Snapshot raw readings under DVC, then clean them.

    Args:
        ensemble: Name or folder of the ensemble.
        data: File or folder of raw readings. Without it the current snapshot is used, and
            where there is none, the fleet that the manifest declares is simulated.

    Raises:
        ContractError: The readings break their contract; nothing was written.
    """
    from firnline.adapters.duckdb_readings import clean
    from firnline.adapters.reading_files import inspect

    settings = wiring.settings()
    workload = locate(ensemble, settings.project)
    contract = load_contract(workload.contract)
    snapshot = _snapshot(workload, contract, data)
    inputs = {
        "snapshot": snapshot["snapshot"],
        "contract": digest(contract.model_dump(mode="json")),
        "code": code(*_CODE, packages=("duckdb", "pyarrow")),
    }

    def make(out: Path) -> Document:
        counts = clean(
            inspect(settings.data / workload.name, contract),
            contract,
            out,
            memory_limit=settings.memory_limit,
            temp_limit=settings.temp_limit,
            threads=settings.threads,
            progress=reporter().advance,
        )
        return {**snapshot, **counts.document()}

    step = Step(workload.name, "ingest", inputs, "cleaning readings", make, _summary)
    return {"ingest": run_step(step)}


def _snapshot(workload: Workload, contract: ReadingContract, data: str | None) -> Document:
    """Record the source under DVC and name its digests."""
    from firnline.adapters.dvc_data import current, snapshot
    from firnline.adapters.reading_files import inspect

    project = wiring.settings().project.resolve()
    reporter().start("ingest", "checking raw readings")
    if data is None and (known := current(workload.name, project)) is not None:
        return {"snapshot": known.sha256, "dvc": known.dvc}
    source = Path(data) if data is not None else _simulated(workload)
    # Every structural breach is found before the first byte is copied.
    inspect(source, contract)
    reporter().start("ingest", "recording the snapshot")
    taken = snapshot(source, workload.name, project, patterns=contract.patterns())
    return {"snapshot": taken.sha256, "dvc": taken.dvc}


def _simulated(workload: Workload) -> Path:
    """The fleet the manifest declares, made once.

    Raises:
        ContractError: C00, there are no readings and none are declared.
    """
    declared = workload.manifest.data.simulate
    if declared is None:
        raise ContractError(
            "C00",
            found="no readings were given, and there is no snapshot",
            where=f"data/{workload.name}",
            mend=f"firnline run {workload.name} --data PATH",
        )
    from firnline.sim.fleet import FleetSpec
    from firnline.sim.write import simulate

    state = wiring.settings().state
    spec = FleetSpec(devices=declared.devices, days=declared.days, seed=declared.seed)
    out = state / "simulated" / f"{workload.name}-{digest(declared.model_dump())[:12]}"
    if not out.is_dir():
        reporter().start("ingest", f"simulating {spec.devices} devices, {spec.days} days")
        simulate(spec, out, progress=reporter().advance)
    return out


def _summary(document: Document) -> str:
    quarantined = sum(document["quarantined"].values())
    return f"{document['readings']:,} readings, {quarantined:,} quarantined"
