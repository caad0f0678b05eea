"""Step 1: raw readings -> data contract -> clean readings; what fails is kept in quarantine."""

import dataclasses
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
    from firnline.adapters.duckdb_readings import clean, inspect

    workload = locate(ensemble, wiring.settings().project)
    contract = load_contract(workload.contract)
    reporter().start("ingest", "checking raw readings")
    source = inspect(_source(workload, data), contract)
    snapshot = _snapshot(source.root, workload.name, contract)
    settings = wiring.settings()
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
        return {**snapshot, **counts_document(counts)}

    step = Step(workload.name, "ingest", inputs, "cleaning readings", make, _summary)
    return {"ingest": run_step(step)}
