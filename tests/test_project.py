"""What holds for the project as a whole: locks, imports, sizes, and that all it defines loads."""

import ast
import importlib.metadata
import importlib.util
import json
import os
import re
import statistics
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from firnline.contracts.reading import load as load_contract
from firnline.telemetry import SWITCHES
from firnline.workload import locate, names, views

ROOT = Path(__file__).resolve().parents[1]
TREES = ("firnline", "flows", "models", "edge", "feature_repo")
LOCKS = ("requirements.lock.txt", "tools.lock.txt")
SOURCES = sorted(path for tree in TREES for path in (ROOT / tree).rglob("*.py"))
MOST_LINES, MEDIAN_LINES = 350, 140
HEAVY = {"dvc", "duckdb", "evidently", "feast", "mlflow", "onnx", "pandas", "prefect", "sklearn"}
RULES = ("firnline/contracts", "firnline/evidence", "firnline/carbon")
RULES_MAY = {"firnline", "numpy", "pydantic", "scipy"} | set(sys.stdlib_module_names)


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(path: Path) -> set[str]:
    """Top-level packages a file imports anywhere, but for type checking."""
    found: set[str] = set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    hidden = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in hidden:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found


def tracked() -> list[Path]:
    """The files of the repository, as git knows them, new ones too."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("not a git repository")
    return [path for line in listed.stdout.splitlines() if (path := ROOT / line).is_file()]


def python(code: str, environment: dict[str, str] | None = None) -> str:
    """What a fresh interpreter prints."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**kept, **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", LOCKS)
def test_the_lock_has_hashes_and_no_host(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    entries = re.split(r"\n(?=\S)", text.strip())

    assert all(re.match(r"[a-z0-9._-]+(\[[\w,-]+\])?==\S+", entry) for entry in entries)
    assert [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry] == []
    assert re.findall(r"://|--(?:extra-)?index-url|--find-links|@ ", text) == []


def test_the_lock_has_every_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]
    locked = dict(
        re.findall(r"^([a-z0-9._-]+)(?:\[[\w,-]+\])?==(\S+)", (ROOT / LOCKS[0]).read_text(), re.M)
    )

    for requirement in wanted:
        plain = re.sub(r"\[.*?\]", "", requirement.partition(";")[0])
        name, _, exact = plain.partition("==")
        name = re.split(r"[<>=!~]", name)[0].lower()
        assert name in locked, requirement
        assert not exact or locked[name] == exact, requirement


def test_every_import_is_a_declared_dependency() -> None:
    """What is there only because something else needs it may go with the next release of that."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]
    declared = {re.split(r"[\[<>=!~;]", name)[0].lower() for name in wanted}
    ours = {*TREES, *(path.stem for path in SOURCES)}  # Feast imports a repository's files bare
    used = set().union(*(imports(path) for path in SOURCES)) - ours - sys.stdlib_module_names
    providers = importlib.metadata.packages_distributions()

    undeclared = {
        package: providers.get(package, [])
        for package in used
        if not {name.lower() for name in providers.get(package, [])} & declared
    }

    assert undeclared == {}


def test_every_cap_has_a_reason() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    capped = [line for line in text.splitlines() if re.match(r'\s+"[\w.\[\]-]+<', line)]

    assert len(capped) >= 5
    assert [line.strip() for line in capped if not re.search(r'",\s+# .{10,}', line)] == []


def test_no_file_names_a_machine_or_a_host_of_packages() -> None:
    words = re.compile(
        rb"(?<![\w.])/(?:home|root|Users)/\w|pypi[.]org|python[h]osted|registry[.]npm[j]s"
    )
    itself = Path(__file__).resolve()
    found = [
        f"{name_of(path)}: {match[0].decode()}"
        for path in tracked()
        if path != itself and (match := words.search(path.read_bytes()))
    ]

    assert found == []


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_modules_are_documented_and_short(path: Path) -> None:
    text = path.read_text(encoding="utf-8")

    assert ast.get_docstring(ast.parse(text))
    assert len(text.splitlines()) <= MOST_LINES


def test_the_median_module_is_short() -> None:
    lines = [len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES]

    assert statistics.median(count for count in lines if count > 1) <= MEDIAN_LINES


@pytest.mark.parametrize(
    "path", [path for path in SOURCES if name_of(path).startswith(RULES)], ids=name_of
)
def test_rules_use_nothing_but_numbers(path: Path) -> None:
    assert imports(path) - RULES_MAY == set()


def test_help_imports_no_heavy_tool() -> None:
    code = (
        "import sys; sys.argv = ['firnline', '--help']\n"
        "from firnline.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code\n"
        "print('\\n' + ' '.join(sorted({name.partition('.')[0] for name in sys.modules})))"
    )

    loaded = set(python(code).splitlines()[-1].split())

    assert "typer" in loaded
    assert loaded & HEAVY == set()


def test_importing_firnline_switches_telemetry_off() -> None:
    code = (
        "import firnline, json, os, sys\nprint(json.dumps([dict(os.environ), sorted(sys.modules)]))"
    )

    environment, loaded = json.loads(python(code, {"DVC_NO_ANALYTICS": "yes"}))

    assert {name: environment[name] for name in SWITCHES} == SWITCHES | {"DVC_NO_ANALYTICS": "yes"}
    assert set(loaded) & HEAVY == set()


@pytest.mark.parametrize("name", names(ROOT))
def test_every_ensemble_loads(name: str) -> None:
    workload = locate(name, ROOT)

    assert workload.name == name
    assert load_contract(workload.contract).key.name == workload.manifest.key
    for view in views(workload):
        assert view.key == workload.manifest.key
        assert view.digest()
    targets = [stage.recipe for stage in workload.manifest.stage]
    for target in [*targets, *workload.manifest.protocols.values()]:
        module, _, attribute = target.partition(":")
        spec = importlib.util.find_spec(module)
        assert spec
        assert spec.origin
        defined = ast.parse(Path(spec.origin).read_text(encoding="utf-8")).body
        assert attribute in {getattr(node, "name", "") for node in defined}


def test_every_module_and_every_deployment_loads() -> None:
    """In one fresh interpreter, which may import what it likes."""
    modules = [
        name_of(path).removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for path in SOURCES
        if path.stem != "bake_saturation"  # needs what is installed for development alone
    ]
    deployed = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]
    code = (
        "import firnline, importlib, json\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
        "from prefect import Flow\n"
        f"for module, name in {[entry['entrypoint'].split(':') for entry in deployed]!r}:\n"
        "    flow = getattr(importlib.import_module(module), name)\n"
        "    assert isinstance(flow, Flow) and flow.name == name\n"
        "print(len(importlib.import_module('firnline').__version__))"
    )

    assert python(code).strip().isdigit()
    given = [entry["parameters"]["ensemble"] for entry in deployed if "parameters" in entry]
    assert set(given) <= set(names(ROOT))
    assert len(given) == len(deployed) - 1, "the channel is looked at as a whole"
