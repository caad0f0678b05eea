"""What all tests share: the data beside the project, and nothing of the user's own state."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import firnline  # noqa: F401  Telemetry is off before any dependency is imported.

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real data that is not committed: SKAB and carbon intensities."""
    path = Path(os.environ.get("FIRNLINE_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not path.is_dir():
        pytest.skip(f"no data at {path}; FIRNLINE_TEST_DATA names the folder")
    return path


@pytest.fixture(scope="session", autouse=True)
def _own_state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests neither read nor write the state of the project they lie in."""
    home = tmp_path_factory.mktemp("state")
    names = {"FIRNLINE_HOME": str(home), "PREFECT_HOME": str(home / "prefect")}
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(names)
    yield
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
