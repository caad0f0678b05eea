import re
import tomllib
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest

from edge.agent import config
from edge.agent.config import Config, Limits, device_name, load, parse
from firnline.errors import DeliveryError

TEXT = """
url = "https://channel.example/firnline"
ensemble = "refrigeration"
track = "beta"
target = "cpu-arm64"
root = "root.json"
device = "unit-7"
"""
PATH = Path("/etc/firnline-agent/agent.toml")


def test_a_short_file_is_enough_and_the_rest_has_defaults() -> None:
    found = parse(TEXT, PATH)
    assert found.root == Path("/etc/firnline-agent/root.json")
    assert (found.poll_seconds, found.jitter, found.limits) == (3600.0, 0.5, Limits())
    assert found.features_lock is None
    assert found.scoring.socket is None


def test_tables_and_paths_are_read() -> None:
    found = parse(
        f'{TEXT}\nfeatures_lock = "own.lock"\npoll_seconds = 60\n[limits]\ntimeout_seconds = 3\n'
        '[health]\ncommand = ["/bin/true", "-x"]\n[scoring]\nsocket = "/run/x/rows.sock"\n',
        Path("/srv/a/agent.toml"),
    )
    assert found.features_lock == Path("/srv/a/own.lock")
    assert found.limits.timeout_seconds == 3.0
    assert isinstance(found.poll_seconds, float)
    assert found.health.command == ("/bin/true", "-x")
    assert found.scoring.socket == Path("/run/x/rows.sock")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("pol_seconds = 3", "`pol_seconds` is no key here; the nearest is `poll_seconds`"),
        ("zzz = 3", "`zzz` is no key here"),
        ("[limits]\nmax_bytes = 3", "`max_bytes` is no key here"),
        ("[scores]\nmax_bytes = 1", "1 is not at least 4096"),
        ("[scores]\nmax_bytes = 8192\nsegment_bytes = 8192", "less than two segments"),
        ("jitter = 2", "2 is not at least 0 and at most 1"),
        ("jitter = nan", "nan is not at least 0"),
        ("poll_seconds = true", "'True' is no number"),
        ("poll_seconds = '60'", "'60' is no number"),
        ("features_lock = ''", "'' is no path"),
        ("limits = 3", "'3' is no table"),
        ("[health]\ncommand = 'reboot'", "'reboot' is no list of text"),
        ("[health]\ncommand = [1]", "is no list of text"),
        ("device = ", "no TOML"),
    ],
)
def test_what_is_wrong_is_named(change: str, named: str) -> None:
    with pytest.raises(DeliveryError, match=re.escape(named)) as caught:
        parse(f"{TEXT}\n{change}\n", PATH)
    assert caught.value.code == "U30"
    assert str(PATH) in caught.value.where


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("track", "weekly", "'weekly' is none of canary, beta, stable"),
        ("ensemble", "../other", "'../other' is no name"),
        ("target", "", "'' is no name"),
        ("device", "a/b", "'a/b' is no name"),
        ("url", "ftp://channel.example", "no address of a channel"),
        ("url", "https://", "no address of a channel"),
        ("url", "https://host:x/", "no address of a channel"),
        ("url", "https://host/?token=secret", "no address of a channel"),
        ("url", "https://me:secret@host/", "an address with a user or a password in it"),
        ("url", "https://me:secret@host:99999/", "an address with a user or a password in it"),
        ("url", "https://me:secret@[host/", "an address with a user or a password in it"),
        ("url", "https:me:secret@host", "an address with a user or a password in it"),
    ],
)
def test_names_and_addresses_are_held_to_their_form(key: str, value: str, named: str) -> None:
    text = re.sub(rf"(?m)^{key} = .*$", f'{key} = "{value}"', TEXT)
    with pytest.raises(DeliveryError, match=re.escape(named)) as caught:
        parse(text, PATH)
    assert "secret" not in str(caught.value)


def test_a_missing_key_and_a_missing_file_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DeliveryError, match="`url` is missing"):
        parse("", PATH)
    monkeypatch.setenv("FIRNLINE_AGENT_CONFIG", str(tmp_path / "none.toml"))
    with pytest.raises(DeliveryError, match=r"none\.toml: no file that can be read"):
        load()
    (tmp_path / "none.toml").write_text(TEXT)
    assert load().device == "unit-7"


def test_the_machine_names_the_device_and_its_id_stays_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = tmp_path / "machine-id"
    monkeypatch.setattr(config, "_MACHINE_ID", machine)
    unnamed = TEXT.replace('device = "unit-7"', "")
    with pytest.raises(DeliveryError, match="no name"):
        parse(unnamed, PATH)
    machine.write_text("0123456789abcdef0123456789abcdef\n")
    name = parse(unnamed, PATH).device
    assert name == device_name("0123456789abcdef0123456789abcdef")
    assert re.fullmatch(r"device-[0-9a-f]{32}", name)
    assert "0123456789abcdef" not in name
    assert name != device_name("0123456789abcdef0123456789abcdee")


def test_every_key_is_documented() -> None:
    def check(kind: type) -> None:
        assert is_dataclass(kind)
        for field in fields(kind):
            assert re.search(rf"^        {field.name}: ", kind.__doc__ or "", re.M), field.name
            default = getattr(found, field.name, None)
            if is_dataclass(default):
                check(type(default))

    found = parse(TEXT, PATH)
    check(Config)
    assert tomllib.loads(TEXT).keys() < {field.name for field in fields(Config)}
