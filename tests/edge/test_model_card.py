"""The model card says what the figures say, and where they do not reach."""

import re
from dataclasses import replace

import yaml

from edge.model_card import card
from tests.edge.small_bundles import METRICS, contents


def of(given=None, metrics=METRICS):
    text = card(given or contents(), {"score.slope": "1.0", "note": "a|b"}, metrics).decode()
    head, body = re.fullmatch(r"---\n(.*?)---\n(.*)", text, re.DOTALL).groups()
    return yaml.safe_load(head), body


def test_its_head_is_what_hubs_read() -> None:
    head, _ = of()
    (model,) = head["model-index"]
    assert (head["license"], head["library_name"], model["name"]) == ("mit", "onnx", "small")
    assert "cpu-x86_64" in head["tags"]
    (result,) = model["results"]
    assert result["dataset"]["revision"] == "b" * 64
    assert {one["type"]: one["value"] for one in result["metrics"]}["far"] == 1.25


def test_it_tells_what_it_takes_and_on_how_many_windows_it_was_tried() -> None:
    body = of()[1]
    assert "For each window of 900 s, every 900 s, of one device it takes 4 features" in body
    assert "| v | 4 | `a`, `b`, `c`, `d` |" in body
    # 1.25 % of 96 windows.
    assert "flags 1.25 % of those without: 1.2 false alarms a day and device." in body
    counted = card(
        contents(),
        {"split.kind": "first-rows"},
        {**METRICS, "test.rows": 4096.0, "test.faulty": 0.0},
    ).decode()
    assert "| windows | held-out windows | 4,096, 0 of them with a fault |" in counted
    assert "Held-out windows come after those that it was trained on" in counted


def test_it_tells_what_the_model_is_weak_at() -> None:
    given = contents()
    body = of()[1]
    assert "hardly tells leak from normal: AUC 0.7100" in body and "**0.7100**" in body
    assert "misses 30.00 %" in body and "On cpu-arm64 it is not proved: nothing ran it" in body
    unknown = of(given, {"later.auc.leak": 0.9})[1]
    assert "How it does with leak on units it was not trained on is unknown" in unknown
    assert "How it does with leak is unknown" in of(given, {})[1]
    assert "no labelled windows" in of(given, {})[1]


def test_tables_hold_whatever_a_setting_holds() -> None:
    body = of()[1]
    for line in body.splitlines():
        if line.startswith("| note"):
            assert line == "| note | a\\|b |"
    tables = re.findall(r"(?:^\|.*\n?)+", body, re.MULTILINE)
    assert len(tables) == 7
    for table in tables:
        columns = {len(re.findall(r"(?<!\\)\|", line)) for line in table.strip().splitlines()}
        assert len(columns) == 1


def test_what_nobody_states_is_said_to_be_unstated() -> None:
    head, body = of(contents(own=None))
    assert head["license"] == "unknown" and "Nobody has stated one for the models" in body


def test_a_licence_that_hubs_have_no_name_for_is_another() -> None:
    head, body = of(contents(own="MIT OR BSL-1.0"))
    assert (head["license"], head["license_name"]) == ("other", "MIT OR BSL-1.0")
    assert "The models: MIT OR BSL-1.0." in body


def test_it_says_so_where_int8_runs_whole() -> None:
    assert (
        "It runs as one graph: it would differ."
        in of(replace(contents(), run_note="it would differ"))[1]
    )


def test_it_has_no_run_and_no_time_in_it() -> None:
    given = contents()
    slower = [{**record, "timings": {"int8": 9}} for record in given.targets]
    assert card(given, {}, METRICS) == card(replace(given, targets=slower), {}, METRICS)
    assert not re.search(r"20[0-9]{2}-[0-9]{2}-[0-9]{2}", card(given, {}, METRICS).decode())
