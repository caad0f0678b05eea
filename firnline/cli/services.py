"""`firnline up` and `firnline down`: the local services, on loopback, by their process ids."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import psutil

from firnline import wiring
from firnline.cli.show import screen
from firnline.errors import FirnlineError

POOL = "local"
_START_SECONDS = 120.0
_STOP_SECONDS = 30.0


@dataclass(frozen=True)
class Service:
    """One process to start.

    Attributes:
        name: For people and for the log's name.
        command: Module and arguments for this Python.
        health: Address that answers 200 when it is up; None where it has none.
    """

    name: str
    command: tuple[str, ...]
    health: str | None


def start() -> None:
    """Start what does not run yet, wait until it answers, and deploy prefect.yaml.

    Raises:
        FirnlineError: S2 a service did not come up, S3 the flows could not be deployed.
    """
    settings = wiring.settings()
    wiring.prefect_environment()
    environment = _environment()
    for service in _servers():
        _launch(service, environment)
    _prefect(environment, "work-pool", "create", POOL, "--type", "process", "--overwrite")
    _prefect(environment, "deploy", "--all")
    worker = Service(
        "worker",
        ("prefect", "worker", "start", "--pool", POOL, "--limit", "2", "--name", "firnline"),
        None,
    )
    _launch(worker, environment)
    console = screen()
    console.print(f"Prefect  {environment['PREFECT_API_URL'].removesuffix('/api')}")
    console.print(f"MLflow   http://127.0.0.1:{settings.mlflow_port}")
    console.print(
        "prefect deployment run 'train/refrigeration' starts a flow (set PREFECT_API_URL)"
    )


def stop() -> None:
    """Stop what `start` started, worker first; what it did not start is left alone."""
    console = screen()
    for name in ("worker", "mlflow", "prefect"):
        process = _running(name)
        if process is not None:
            _end(process)
            console.print(f"stopped {name}")
        _pid_file(name).unlink(missing_ok=True)


def api_address() -> str | None:
    """The API of the Prefect server that `start` started, while it runs."""
    if _running("prefect") is None:
        return None
    return f"http://127.0.0.1:{wiring.settings().prefect_port}/api"


def _servers() -> tuple[Service, ...]:
    settings = wiring.settings()
    folder = settings.state / "mlflow"
    folder.mkdir(parents=True, exist_ok=True)
    prefect_port, mlflow_port = str(settings.prefect_port), str(settings.mlflow_port)
    return (
        Service(
            "prefect",
            ("prefect", "server", "start", "--host", "127.0.0.1", "--port", prefect_port),
            f"http://127.0.0.1:{prefect_port}/api/health",
        ),
        Service(
            "mlflow",
            (
                *("mlflow", "server", "--host", "127.0.0.1", "--port", mlflow_port),
                *("--workers", "1", "--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"),
                *("--artifacts-destination", str(folder / "artifacts")),
            ),
            f"http://127.0.0.1:{mlflow_port}/health",
        ),
    )


def _environment() -> dict[str, str]:
    settings = wiring.settings()
    return {
        # Its jobs judge what language models say, in eight processes that wait for some.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        **os.environ,
        "PREFECT_API_URL": f"http://127.0.0.1:{settings.prefect_port}/api",
        "PREFECT_LOGGING_TO_API_ENABLED": "true",
        "PREFECT_LOGGING_LEVEL": "INFO",
        "FIRNLINE_PROJECT": str(settings.project.resolve()),
        "PYTHONPATH": os.pathsep.join(
            [str(settings.project.resolve()), *filter(None, [os.environ.get("PYTHONPATH")])]
        ),
    }


def _launch(service: Service, environment: dict[str, str]) -> None:
    if _running(service.name) is not None:
        return
    log_path = _pid_file(service.name).with_suffix(".log")
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with log_path.open("ab") as log, _interruptible():
        process = subprocess.Popen(
            [sys.executable, "-m", *service.command],
            env=environment,
            cwd=wiring.settings().project,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    born = psutil.Process(process.pid).create_time()
    _pid_file(service.name).write_text(json.dumps({"pid": process.pid, "born": born}))
    deadline = time.monotonic() + _START_SECONDS
    while service.health and not _answers(service.health):
        if process.poll() is not None or time.monotonic() > deadline:
            raise FirnlineError(
                "S2",
                found=f"{service.name} did not come up",
                where=str(log_path),
                mend="read that log; another program may hold its port "
                "(FIRNLINE_PREFECT_PORT and FIRNLINE_MLFLOW_PORT choose others)",
            )
        time.sleep(0.1)


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Children that an interrupt ends: a shell has what it starts in the background ignore them.

    A worker that is told to stop interrupts itself, and would go on.
    """
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _prefect(environment: dict[str, str], *arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", *arguments],
        env=environment,
        cwd=wiring.settings().project,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise FirnlineError(
            "S3",
            found=(done.stderr or done.stdout).strip()[-500:],
            where=f"prefect {' '.join(arguments)}",
            mend="run `firnline up` in the folder that holds prefect.yaml",
        )


def _answers(address: str) -> bool:
    try:
        with urlopen(address, timeout=5) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False


def _running(name: str) -> psutil.Process | None:
    """The process we started, and not another that got its number since."""
    try:
        kept = json.loads(_pid_file(name).read_text())
        process = psutil.Process(kept["pid"])
        alive = process.create_time() == kept["born"] and process.status() != psutil.STATUS_ZOMBIE
        return process if alive else None
    except (FileNotFoundError, json.JSONDecodeError, psutil.NoSuchProcess):
        return None


def _end(process: psutil.Process) -> None:
    """Ask a process and its children to end; insist when they do not."""
    family = [process, *process.children(recursive=True)]
    process.send_signal(signal.SIGTERM)
    _, stubborn = psutil.wait_procs(family, timeout=_STOP_SECONDS)
    for left in stubborn:
        left.kill()
    psutil.wait_procs(stubborn, timeout=_STOP_SECONDS)


def _pid_file(name: str) -> Path:
    return wiring.settings().state / "services" / f"{name}.json"
