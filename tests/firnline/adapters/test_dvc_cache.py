"""What was recorded can be proved from DVC's cache, after the files were replaced."""

from pathlib import Path

import pytest

from firnline.adapters.dvc_cache import cached_digest
from firnline.adapters.dvc_data import snapshot
from firnline.errors import ContractError

# DVC's own use of pygtrie.
pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep.value:DeprecationWarning")


def recorded(project: Path, text: str):
    source = project / "source"
    source.mkdir(parents=True, exist_ok=True)
    (source / "one.csv").write_text(text)
    (source / "two.csv").write_text("the same\n")
    return snapshot(source, "small", project, patterns=("*.csv",))


def test_a_snapshot_is_proved_after_another_took_its_place(tmp_path: Path) -> None:
    first, second = recorded(tmp_path, "a\n"), recorded(tmp_path, "b\n")
    assert cached_digest(first.dvc, tmp_path) == first.sha256
    assert cached_digest(second.dvc, tmp_path) == second.sha256 != first.sha256


def test_what_the_cache_lacks_or_has_altered_is_told(tmp_path: Path) -> None:
    taken = recorded(tmp_path, "a\n")
    cache = tmp_path / ".dvc" / "cache" / "files" / "md5"
    files = [path for path in cache.rglob("*") if path.is_file() and path.suffix != ".dir"]
    assert len(files) == 2
    for path in (files[0], cache / taken.dvc[:2] / taken.dvc[2:]):
        content = path.read_bytes()
        path.chmod(0o644)
        path.write_bytes(content + b" ")
        with pytest.raises(ContractError, match=r"W8.*MD5"):
            cached_digest(taken.dvc, tmp_path)
        path.unlink()
        assert cached_digest(taken.dvc, tmp_path) is None
        path.write_bytes(content)
    assert cached_digest(taken.dvc, tmp_path) == taken.sha256
