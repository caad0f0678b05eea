"""What `firnline` does with an error, for people and for machines."""

import json
import os

from tests.resources.project import Project


def test_an_error_is_a_panel_and_where_json_was_asked_for_a_document_too(tmp_path) -> None:
    project = Project(tmp_path)
    arguments = ("channel", "status", "--channel", str(tmp_path / "none"))
    shown, told = project.run(*arguments), project.run(*arguments, "--json")
    assert (shown.returncode, told.returncode) == (1, 1)
    assert shown.stdout == "" and shown.stderr == told.stderr and "V1" in shown.stderr
    error = json.loads(told.stdout)["error"]
    assert (error["code"], error["family"]) == ("V1", "DeliveryError") and error["mend"]


def test_a_path_that_is_no_text_is_told_as_json_all_the_same(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "utf-8:strict")
    project = Project(tmp_path)
    where = os.fsdecode(b"\xff\x1b[31m")
    told = project.run("channel", "status", "--channel", where, "--json")
    assert where in json.loads(told.stdout)["error"]["where"]
