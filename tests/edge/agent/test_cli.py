import json
import logging
import os
import re
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import sha256
from io import StringIO
from pathlib import Path

import pytest

from edge.agent.cli import main
from edge.agent.config import load
from edge.agent.scores import read
from edge.agent.status import status, text
from tests.edge.agent import bundles, channels

ROWS = "".join(
    json.dumps({"id": f"r{n}", "key": "unit-1", "row": [float(value) for value in row]}) + "\n"
    for n, row in enumerate(bundles.rows(3))
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[channels.Channel, str]]:
    folder = tmp_path_factory.mktemp("channel")
    made = channels.Channel(folder / "public")
    made.publish(bundles.make(folder / "a"))
    with channels.serve(made.public) as served:
        yield made, served.url


@pytest.fixture
def config(
    site: tuple[channels.Channel, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A device that was set up from nothing by its own command."""
    made, url = site
    path = tmp_path / "etc/agent.toml"
    monkeypatch.setenv("FIRNLINE_AGENT_CONFIG", str(path))
    assert init(path, url, "--root-sha256", sha256(made.root_bytes).hexdigest().upper()) == 0
    assert path.is_file()
    return path


def init(path: Path, url: str, *more: str) -> int:
    named = [] if os.environ.get("FIRNLINE_AGENT_CONFIG") == str(path) else ["--config", str(path)]
    return main(
        ["init", *named, "--url", url, "--ensemble", bundles.ENSEMBLE, "--track",
         "stable", "--target", bundles.TARGET, "--device", "unit-1", "--state",
         str(path.parent.parent / "state"), *more]
    )  # fmt: skip


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, object]]:
    capsys.readouterr()
    code = main([*arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_from_nothing_to_a_verified_model(
    config: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["status"]) == 3
    assert "nothing is installed" in capsys.readouterr().out
    code, pulled = told(capsys, "pull")
    assert (code, pulled["step"]) == (0, "installed")
    code, again = told(capsys, "pull")
    assert (code, again["step"], again["requests"], again["parts_bytes"]) == (0, "kept", 2, 0)
    assert main(["verify"]) == 0
    assert "slot a, active: whole; 16 golden windows exact" in capsys.readouterr().out
    (tmp_path / "rows.jsonl").write_text(ROWS)
    assert main(["run", "--rows", str(tmp_path / "rows.jsonl")]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [item["id"] for item in answers] == ["r0", "r1", "r2"]
    kept = list(read(load().state / "scores"))
    assert [item["answer"] for item in kept] == [item["answer"] for item in answers]
    assert {item["key"] for item in kept} == {"unit-1"}
    code, status = told(capsys, "status")
    assert code == 0
    assert (status["good"], status["slot"], status["release"]) == (True, "a", pulled["release"])
    assert (status["offline"], status["clock_behind"], status["running"]) == (False, False, False)
    assert {"timestamp", "snapshot", "targets", "root"} <= set(status["expires"])  # type: ignore[call-overload]
    assert main(["status"]) == 0
    assert "3 answers" in capsys.readouterr().out


def test_why_a_pull_failed_is_told_by_the_status_until_one_is_good(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = config.read_text()
    config.write_text(re.sub("127.0.0.1:[0-9]+", "127.0.0.1:9", good))
    code, error = told(capsys, "pull")
    assert (code, error.pop("family"), error["code"]) == (1, "DeliveryError", "U17")
    last = told(capsys, "status")[1]["last_poll"]
    assert isinstance(last, dict)
    assert (last["outcome"], last["error"]) == ("failed", error)
    config.write_text(good)
    assert main(["pull"]) == 0
    last = told(capsys, "status")[1]["last_poll"]
    assert isinstance(last, dict)
    assert (last["outcome"], last["error"]) == ("installed", None)


def test_a_runner_of_ones_own_confirms_what_it_watched(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["confirm"]) == 1
    assert "error [U32] nothing is installed" in capsys.readouterr().err
    assert main(["pull"]) == 0
    release = str(told(capsys, "status")[1]["release"])
    code, error = told(capsys, "confirm", "--release", "0" * 64)
    assert (code, error["code"]) == (1, "U46")
    assert told(capsys, "status")[1]["confirmed"] is False
    assert told(capsys, "confirm", "--release", release) == (0, {"release": release})
    assert told(capsys, "status")[1]["confirmed"] is True
    assert main(["confirm"]) == 0
    assert f"confirmed release {release[:12]}" in capsys.readouterr().out


def test_rows_that_are_wrong_do_not_stop_the_others(
    config: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "rows.jsonl").write_text(f'{{"row": 3}}\n\n{ROWS}')
    assert main(["run", "--rows", str(tmp_path / "rows.jsonl")]) == 1
    assert "[U32] nothing is installed" in capsys.readouterr().err
    assert main(["pull"]) == 0
    capsys.readouterr()
    assert main(["run", "--rows", str(tmp_path / "rows.jsonl")]) == 3
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert ["error" in item for item in answers] == [True, False, False, False]


def test_an_id_of_half_a_letter_stops_no_other_row(
    config: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["pull"]) == 0
    capsys.readouterr()
    (tmp_path / "rows.jsonl").write_text(f'{{"id": "\\ud800", "row": [1]}}\n{ROWS}')
    assert main(["run", "--rows", str(tmp_path / "rows.jsonl")]) == 3
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [item["id"] for item in answers] == ["\ud800", "r0", "r1", "r2"]


def test_a_slot_that_is_gone_is_told_and_comes_back(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pull"]) == 0
    shutil.rmtree(load().state / "slots")
    code, found = told(capsys, "status")
    assert (code, found["good"]) == (3, False)
    assert str(found["damage"]).startswith("slot a: ")
    _, error = told(capsys, "verify")
    assert "`firnline-agent pull`" in str(error["mend"])
    assert "firnline run" not in str(error["mend"])
    assert told(capsys, "pull")[1]["step"] == "installed"
    assert told(capsys, "status")[0] == 0


def test_a_rollback_is_refused_and_told_where_there_is_nothing(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, error = told(capsys, "rollback")
    assert (code, error["code"], error["family"]) == (1, "U24", "DeliveryError")
    assert main(["verify"]) == 1
    found = capsys.readouterr().err
    assert found.startswith("error [U32] nothing is installed\n  where  ")
    assert "\n  mend   " in found


def test_a_bundle_of_a_folder_can_be_verified(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = bundles.make(tmp_path / "b")
    code, found = told(capsys, "verify", str(made.folder))
    assert code == 0
    assert found["verified"][0]["self_test"] == "exact"  # type: ignore[index]
    (made.folder / "stages/encoder.onnx").write_bytes(b"")
    assert main(["verify", str(made.folder)]) == 1


def test_an_address_where_no_channel_is_is_told(
    site: tuple[channels.Channel, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, url = site
    assert init(tmp_path / "etc/agent.toml", f"{url}/elsewhere", "--root-sha256", "0" * 64) == 1
    assert "U17" in capsys.readouterr().err
    assert not (tmp_path / "etc").exists()


def test_a_root_that_nobody_vouches_for_is_not_taken(
    site: tuple[channels.Channel, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made, url = site
    path = tmp_path / "etc/agent.toml"
    assert init(path, url, "--root-sha256", "0" * 64) == 1
    assert f"a root.json with sha256 {sha256(made.root_bytes).hexdigest()}" in (
        capsys.readouterr().err
    )
    assert init(path, url) == 1
    assert "not nothing" in capsys.readouterr().err
    assert not path.parent.exists()
    (tmp_path / "given.json").write_bytes(made.root_bytes)
    assert init(path, url, "--root", str(tmp_path / "given.json")) == 0
    assert load(path).root.read_bytes() == made.root_bytes
    assert init(path, url, "--root", str(tmp_path / "given.json")) == 1
    assert "a device that is configured already" in capsys.readouterr().err
    assert init(tmp_path / "other.toml", url, "--root", str(tmp_path / "none.json")) == 1
    assert "error [U30] no file that can be read" in capsys.readouterr().err
    assert not (tmp_path / "other.toml").exists()
    # What was cut off before the configuration was written is run again.
    path.unlink()
    assert init(path, url, "--root", str(tmp_path / "given.json")) == 0


@pytest.mark.parametrize("what", ["nothing", "timestamp", "changed"])
def test_a_root_that_no_device_can_begin_with_is_not_taken(
    what: str,
    site: tuple[channels.Channel, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    made, url = site
    contents = {
        "nothing": b"{",
        "timestamp": (made.public / "metadata/timestamp.json").read_bytes(),
        "changed": made.root_bytes.replace(b'"version":1', b'"version":2'),
    }
    assert contents["changed"] != made.root_bytes
    (tmp_path / "given.json").write_bytes(contents[what])
    told = sha256(contents[what]).hexdigest()
    path = tmp_path / "etc/agent.toml"
    assert init(path, url, "--root", str(tmp_path / "given.json"), "--root-sha256", told) == 1
    said = capsys.readouterr().err
    assert "error [U30] no root.json of a channel" in said
    assert ("it is the timestamp" in said) is (what == "timestamp")
    assert not path.parent.exists()


def test_the_digest_is_asked_of_whoever_sits_there(
    site: tuple[channels.Channel, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made, url = site
    terminal = StringIO()
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr("sys.stdin", terminal)
    assert init(tmp_path / "agent.toml", url, "--json") == 1
    assert json.loads(capsys.readouterr().out)["code"] == "U30"
    terminal.write(f"{sha256(made.root_bytes).hexdigest()}\n")
    terminal.seek(0)
    assert init(tmp_path / "agent.toml", url) == 0


def test_slots_without_a_state_that_can_be_read_are_not_called_nothing(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = load(config).state
    state.mkdir()
    (state / "state.json").write_text("{")
    assert main(["verify"]) == 1
    assert "error [U21] a damaged state" in capsys.readouterr().err


def test_a_command_that_is_not_understood_ends_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["fetch"], ["init"], ["pull", "--fast"]):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 2
    for option, said in (("--help", "exit codes:\n  0  done"), ("--version", "firnline-agent ")):
        with pytest.raises(SystemExit) as caught:
            main([option])
        assert caught.value.code == 0
        assert said in capsys.readouterr().out


def test_out_is_for_targets_that_this_host_does_not_run(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, error = told(capsys, "pull", "--out", str(tmp_path / "out"))
    assert (code, error["code"]) == (1, "U40")


@pytest.mark.parametrize("command", [["pull"], ["run"], ["run", "--rows", "-"]])
def test_a_host_does_not_try_what_goes_to_a_chip(
    command: list[str],
    site: tuple[channels.Channel, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    made, url = site
    (tmp_path / "root.json").write_bytes(made.root_bytes)
    path = tmp_path / "a chip.toml"
    arguments = ["--root", str(tmp_path / "root.json"), "--target", "mcu-cortex-m4"]
    assert init(path, url, *arguments) == 0
    said = f"next    firnline-agent pull --config '{path}' --out FOLDER\n"
    assert capsys.readouterr().out.endswith(said)
    code, error = told(capsys, *command, "--config", str(path))
    assert (code, error["code"]) == (1, "U40")
    assert "pull --out FOLDER" in str(error["mend"])
    assert not load(path).state.exists()


def test_a_root_key_that_did_not_sign_is_not_told_where_two_are_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made = channels.Channel(tmp_path / "public")
    made.publish(bundles.make(tmp_path / "a"))
    made.keys["root"].pop()
    made.rotate("timestamp")
    made.commit()
    monkeypatch.setenv("FIRNLINE_AGENT_CONFIG", str(tmp_path / "etc/agent.toml"))
    caplog.set_level(logging.INFO)
    with channels.serve(made.public) as served:
        told = sha256(made.root_bytes).hexdigest()
        assert init(tmp_path / "etc/agent.toml", served.url, "--root-sha256", told) == 0
        assert main(["pull"]) == 0
    assert (load().state / "trust/root_history/2.root.json").is_file()
    assert "keyid" not in caplog.text


def test_a_clock_behind_does_not_make_metadata_look_younger(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pull"]) == 0
    found = status(load(), datetime(1970, 1, 1, tzinfo=UTC))
    said = text(found, datetime(1970, 1, 1, tzinfo=UTC))
    assert "clock     behind the channel's signed time" in said
    left = re.search(r"metadata  \w+ ends in (\d+) ", said)
    assert left and int(left[1]) < 1000
    assert re.search(r"polled    at most \d+ s ago", said)
