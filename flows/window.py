"""Step 7: when the next retraining would run: the greenest start before its deadline."""

from datetime import datetime, timedelta
from pathlib import Path

from prefect import flow

from firnline import wiring
from firnline.carbon.window import decide, greenest
from firnline.digest import file_digest
from firnline.workload import Workload, locate
from flows.drift import drift
from flows.steps import Document, Results, Step, code, run_step
from flows.verdicts import publish, summarise

_CODE = ("firnline.adapters.carbon_file", "firnline.carbon.series", "firnline.carbon.window")
_IN_SNAPSHOT = "carbon_intensity.csv"
_HOUR = timedelta(hours=1)


@flow(name="window", validate_parameters=False)
def window(ensemble: str, data: str | None = None, before: Results | None = None) -> Results:
    """Find the window for a retraining that is released when the readings end.

    Args:
        ensemble: Name or folder of the ensemble.
        data: As for `ingest`; only used when `before` is not given.
        before: Results of the steps before; run, or reused, when not given.

    Raises:
        ContractError: K1 to K8, the carbon-intensity file cannot be used.
    """
    before = before or drift(ensemble, data)
    workload = locate(ensemble, wiring.settings().project)
    release = _next_hour(datetime.fromisoformat(before["ingest"]["last"]))
    source = _source(workload)
    inputs = {
        "release": release.isoformat(),
        "series": file_digest(source) if source else None,
        "retrain": workload.manifest.retrain.model_dump(mode="json"),
        "code": code(*_CODE, packages=("numpy",)),
    }

    def make(_out: Path) -> Document:
        from firnline.adapters.carbon_file import load

        retrain = workload.manifest.retrain
        found = greenest(
            load(source) if source else None, release, retrain.duration, retrain.carbon_slack
        )
        named = {"series": str(inputs["series"])} if source else {}
        decision = decide(workload.name, found, named)
        wiring.ledger().append(decision)
        return {"decision": decision.document()}

    step = Step(workload.name, "window", inputs, "looking for a green window", make, summarise)
    document = run_step(step)
    publish(workload.name, document["decision"], reused=document["reused"])
    return {**before, "window": document}


def _source(workload: Workload) -> Path | None:
    """The series that came with the readings, else the one that FIRNLINE_CARBON_FILE names."""
    settings = wiring.settings()
    beside = settings.data / workload.name / _IN_SNAPSHOT
    return beside if beside.is_file() else settings.carbon_file


def _next_hour(last: datetime) -> datetime:
    whole = last.replace(minute=0, second=0, microsecond=0)
    return whole if whole == last else whole + _HOUR
