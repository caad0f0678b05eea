"""`firnline up`: a real Prefect server, MLflow server and worker; every deployment; one run."""

import json
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import psutil
import pytest
import yaml

from tests.resources.project import ROOT, Project


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def served(first: tuple[Project, dict[str, Any]]) -> Iterator[Project]:
    """The project that has walked, with its services up."""
    folder = first[0].folder
    shutil.copy(ROOT / "prefect.yaml", folder)
    ports = {
        "FIRNLINE_PREFECT_PORT": str(free_port()),
        "FIRNLINE_MLFLOW_PORT": str(free_port()),
    }
    api = f"http://127.0.0.1:{ports['FIRNLINE_PREFECT_PORT']}/api"
    project = Project(folder, {**ports, "PREFECT_API_URL": api, "DO_NOT_TRACK": "true"})
    # As a shell starts it in the background: interrupts are ignored, by its children too.
    up = replace(project, prefix=("sh", "-c", "trap '' INT; exec \"$@\"", "sh")).run("up")
    assert up.returncode == 0, up.stdout + up.stderr
    yield project
    down = project.run("down")
    assert down.returncode == 0, down.stdout + down.stderr
    assert [line.split()[1] for line in down.stdout.splitlines()] == ["worker", "mlflow", "prefect"]
    left = [p for p in psutil.process_iter(["cwd"]) if p.info["cwd"] == str(folder)]
    assert left == []


def prefect(project: Project, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", *arguments],
        cwd=project.folder,
        env={**project.environment, "PATH": "/usr/bin:/bin", "HOME": str(project.folder / "home")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def post(project: Project, route: str, body: dict[str, Any]) -> Any:
    from urllib.request import Request

    request = Request(
        f"{project.environment['PREFECT_API_URL']}/{route}",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())


def test_every_deployment_is_there_with_its_schedule(served: Project) -> None:
    declared = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]

    found = post(served, "deployments/filter", {})

    assert len(found) == len(declared) == 14
    crons = {
        s["schedule"]["cron"]: s["schedule"]["timezone"] for d in found for s in d["schedules"]
    }
    times = ("0 2 * * 0", "5 * * * *", "0 3 * * *", "0 4 * * 0", "25 * * * *")
    assert crons == dict.fromkeys(times, "UTC")
    assert all(d["global_concurrency_limit"]["limit"] == 1 for d in found)


def test_a_deployment_runs_to_completion_and_shows_its_verdicts(served: Project) -> None:
    prefect(served, "deployment", "run", "train/refrigeration", "--watch", "--watch-interval", "1")
    prefect(served, "deployment", "run", "window/refrigeration", "--watch", "--watch-interval", "1")

    runs = post(served, "flow_runs/filter", {"sort": "START_TIME_DESC"})
    # Runs that the schedules start are there too.
    asked_for = [run for run in runs if run["deployment_id"] and not run["auto_scheduled"]]
    assert [run["state_type"] for run in asked_for] == ["COMPLETED", "COMPLETED"]
    artifacts = post(served, "artifacts/filter", {})
    keys = {artifact["key"] for artifact in artifacts}
    assert {f"refrigeration-{kind}" for kind in ("parity", "shadow", "drift", "window")} <= keys
    assert "refrigeration-drift-report" in keys


def test_a_run_at_the_terminal_shows_on_the_server(served: Project) -> None:
    by_hand = Project(
        served.folder,
        {name: value for name, value in served.environment.items() if name != "PREFECT_API_URL"},
    )
    before = post(served, "flow_runs/count", {"flows": {"name": {"any_": ["run"]}}})

    by_hand.json("run", "refrigeration")

    after = post(served, "flow_runs/count", {"flows": {"name": {"any_": ["run"]}}})
    assert after == before + 1


def test_mlflow_serves_what_the_run_registered(served: Project) -> None:
    address = f"http://127.0.0.1:{served.environment['FIRNLINE_MLFLOW_PORT']}"
    with urlopen(
        f"{address}/api/2.0/mlflow/registered-models/alias?name=refrigeration&alias=candidate",
        timeout=30,
    ) as answer:
        version = json.loads(answer.read())["model_version"]

    assert version["name"] == "refrigeration"


def test_up_twice_starts_nothing_twice(served: Project) -> None:
    folder = served.folder / ".firnline" / "services"
    before = {path.name: path.read_text() for path in folder.glob("*.json")}

    assert served.run("up").returncode == 0

    assert {path.name: path.read_text() for path in folder.glob("*.json")} == before


def test_services_end_when_they_are_interrupted(served: Project) -> None:
    """A worker interrupts itself to stop."""
    kept = served.folder / ".firnline" / "services" / "worker.json"
    status = Path(f"/proc/{json.loads(kept.read_text())['pid']}/status").read_text()
    ignored = int(re.search(r"SigIgn:\s*([0-9a-f]+)", status)[1], 16)
    assert not ignored & 1 << signal.SIGINT - 1


def test_services_listen_on_loopback_alone(served: Project) -> None:
    ours = {
        json.loads(path.read_text())["pid"]
        for path in Path(served.folder / ".firnline" / "services").glob("*.json")
    }
    listening = set()
    for pid in ours:
        for process in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True)):
            listening |= {
                c.laddr.ip for c in process.net_connections("inet") if c.status == "LISTEN"
            }

    assert listening == {"127.0.0.1"}
