"""What a step's key depends on: all code within a package, its C too."""

import pytest

from flows.steps import Step, code


@pytest.fixture
def package(tmp_path, monkeypatch):
    root = tmp_path / "packaged"
    (root / "c").mkdir(parents=True)
    (root / "__init__.py").write_text("A = 1\n")
    (root / "inner.py").write_text("B = 1\n")
    (root / "c" / "kernel.h").write_text("#define C 1\n")
    (root / "notes.md").write_text("n\n")
    monkeypatch.syspath_prepend(tmp_path)
    return root


@pytest.mark.parametrize("name", ["__init__.py", "inner.py", "c/kernel.h"])
def test_a_changed_file_within_a_package_counts(package, name):
    before = code("packaged")
    (package / name).write_text((package / name).read_text().replace("1", "2"))
    assert code("packaged") != before


def test_a_file_moved_within_a_package_counts(package):
    before = code("packaged")
    (package / "inner.py").rename(package / "other.py")
    assert code("packaged") != before


def test_notes_do_not_count(package):
    before = code("packaged")
    (package / "notes.md").write_text("other\n")
    assert code("packaged") == before


def test_versions_of_packages_count():
    assert code("packaged_nowhere", packages=("numpy",)) != code("packaged_nowhere")


def test_targets_have_keys_of_their_own():
    def key(name, **inputs):
        return Step("small", name, inputs, "", lambda _: {}, lambda _: "").key

    keys = {
        key("target-a", quantize="1"),
        key("target-b", quantize="1"),
        key("target-a", quantize="2"),
    }
    assert len(keys) == 3
    assert key("target-a", quantize="1") in keys
