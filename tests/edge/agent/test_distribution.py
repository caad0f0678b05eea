import ast
import configparser
import json
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from tests.edge.agent import bundles, channels
from tests.edge.agent.devices import TREE, device

AGENT = TREE / "edge/agent"
NOT_NEEDED = {"prefect", "feast", "mlflow", "pydantic", "onnx", "pandas", "psutil", "typer"}


def project() -> dict[str, object]:
    return tomllib.loads((AGENT / "pyproject.toml").read_text())


def module(name: str) -> Path | None:
    path = TREE / name.replace(".", "/")
    candidates = (path / "__init__.py", path.with_suffix(".py"))
    return next((found for found in candidates if found.is_file()), None)


def imports(name: str) -> Iterator[str]:
    """Every module that a module names in an import, wherever it stands in it."""
    path = module(name)
    assert path is not None
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.fixture(scope="module")
def reached() -> tuple[set[str], set[str]]:
    """Modules of the tree that the agent reaches, and packages of others."""
    ours: set[str] = set()
    others: set[str] = set()
    waiting = [f"edge.agent.{path.stem}" for path in AGENT.glob("*.py") if path.stem[0] != "_"]
    while waiting:
        name = waiting.pop()
        parent = name.rpartition(".")[0]
        if name in ours or module(name) is None:
            continue
        ours.add(name)
        waiting += [parent] if parent else []
        for found in imports(name):
            top = found.partition(".")[0]
            if top in {"edge", "firnline"}:
                waiting.append(found)
            elif top not in sys.stdlib_module_names:
                others.add(top)
    return ours, others


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=AGENT, check=True, capture_output=True)
    return next(folder.glob("firnline_agent-*.whl"))


def test_the_wheel_holds_what_the_agent_reaches_and_no_more(
    wheel: Path, reached: tuple[set[str], set[str]]
) -> None:
    held = {name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".py")}
    paths = {str(path.relative_to(TREE)) for name in reached[0] if (path := module(name))}
    assert held == paths | {"edge/agent/__main__.py"}
    assert not any("__pycache__" in name for name in zipfile.ZipFile(wheel).namelist())


def test_every_package_that_is_imported_is_declared_and_locked(
    reached: tuple[set[str], set[str]],
) -> None:
    declared = {
        text.partition(">")[0].partition("=")[0]
        for text in project()["project"]["dependencies"]  # type: ignore[index]
    }
    # _typeshed is named for its types alone, and never imported.
    assert reached[1] - {"_typeshed"} == declared
    lock = (AGENT / "requirements.lock.txt").read_text()
    pins = {line.split(" ")[0] for line in lock.splitlines() if "==" in line}
    platform = set((TREE / "requirements.lock.txt").read_text().split())
    assert declared <= {pin.partition("==")[0] for pin in pins}
    assert pins <= platform, "the agent is tested with the versions that it is locked to"
    blocks = lock.replace(" \\\n", " ").splitlines()
    assert all(block.count("--hash=sha256:") for block in blocks)


def test_the_wheel_is_the_same_bytes_each_time(wheel: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=AGENT, check=True, capture_output=True)
    assert (tmp_path / wheel.name).read_bytes() == wheel.read_bytes()


def missing(what: str) -> NoReturn:
    """Skip on somebody's machine; where CI=true, nothing that was to be tested may be left out."""
    if os.environ.get("CI", "").lower() in {"1", "true"}:
        pytest.fail(what)
    pytest.skip(what)


def test_installed_alone_it_pulls_verifies_and_scores(wheel: Path, tmp_path: Path) -> None:
    uv = TREE / ".tools/bin/uv"
    if not uv.is_file():
        found = shutil.which("uv")
        if found is None:
            missing("there is no uv to install it with")
        uv = Path(found)
    home = tmp_path / "home"

    def install(*arguments: str) -> None:
        ended = subprocess.run(
            [uv, *arguments], cwd=tmp_path, check=False, capture_output=True, text=True
        )
        if "network was disabled" in ended.stderr:
            missing("the installer's cache does not hold the agent's packages")
        assert ended.returncode == 0, ended.stderr

    install("venv", "--quiet", "--no-project", "--python", sys.executable, str(home))
    python = str(home / "bin/python")
    lock = str(AGENT / "requirements.lock.txt")
    install("pip", "sync", "--offline", "--require-hashes", "--python", python, lock)
    install("pip", "install", "--offline", "--no-deps", "--python", python, str(wheel))
    site = next((home / "lib").glob("python*/site-packages"))
    assert not NOT_NEEDED & {path.name for path in site.iterdir()}
    program = home / "bin/firnline-agent"
    helped = subprocess.run([program, "--help"], capture_output=True, text=True, check=True)
    assert "Pulls what a channel assigns" in helped.stdout
    told = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    assert f"firnline_agent-{told.stdout.split()[1]}-" in wheel.name
    made = channels.Channel(tmp_path / "channel")
    made.publish(bundles.make(tmp_path / "a"))
    with channels.serve(made.public) as served:
        unit = device(tmp_path / "d", served.url, made.root_bytes, bundles.ENSEMBLE, bundles.TARGET)
        unit = type(unit)(unit.config_file, unit.socket, (str(program),), tmp_path)
        assert unit.told("pull")["step"] == "installed"
        assert unit.told("verify")["verified"][0]["self_test"] == "exact"
        answer = json.loads(unit.agent("run", "--rows", "-", rows='{"row": [1, 2, 3, 4]}').stdout)
        assert 0 <= answer["score"] <= 1


def unit_file() -> tuple[configparser.ConfigParser, list[str]]:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    text = (AGENT / "systemd/firnline-agent.service").read_text()
    parser.read_string(text)
    return parser, text.splitlines()


def test_the_unit_is_hardened_and_leaves_room_to_fall_back() -> None:
    parser, lines = unit_file()
    service, unit = parser["Service"], parser["Unit"]
    for name, value in {
        "Type": "notify",
        "DynamicUser": "yes",
        "StateDirectory": "firnline-agent",
        "ProtectSystem": "strict",
        "NoNewPrivileges": "yes",
        "CapabilityBoundingSet": "",
        "MemoryMax": "150M",
        "OOMPolicy": "continue",
        "Restart": "on-failure",
    }.items():
        assert service[name] == value
    assert service["ExecStart"].endswith("/firnline-agent run")
    assert int(service["WatchdogSec"]) > 0
    filters = [line for line in lines if line.startswith("SystemCallFilter=")]
    assert filters[0] == "SystemCallFilter=@system-service"
    assert filters[1].startswith("SystemCallFilter=~@privileged")
    # The default of max_boots, and the release before it, must fit into systemd's patience.
    assert int(unit["StartLimitBurst"]) > 3 + 1
    analyze = shutil.which("systemd-analyze")
    if analyze is not None:
        path = AGENT / "systemd/firnline-agent.service"
        found = subprocess.run([analyze, "verify", path], capture_output=True, text=True)
        told = [line for line in found.stderr.splitlines() if "is not executable" not in line]
        assert not [line for line in told if path.name in line], told
