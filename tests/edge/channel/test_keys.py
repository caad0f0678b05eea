"""Keys in files, the environment and on a token: opened with their secret, or refused by name."""

import os
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
)
from securesystemslib.signer import CryptoSigner

from edge.channel import keys
from edge.channel.repository import Repository
from firnline.errors import DeliveryError
from tests.edge.channel import stands

_MODULES = ("/usr/lib/softhsm/libsofthsm2.so", "/opt/homebrew/lib/softhsm/libsofthsm2.so")
MODULE = next((path for path in _MODULES if Path(path).exists()), None)


def said(secret):
    return lambda what: secret


def refused(code, action, *given):
    with pytest.raises(DeliveryError) as caught:
        action(*given)
    assert caught.value.code == code
    return caught.value


@pytest.fixture
def file(tmp_path):
    return f"file:{tmp_path / 'root.pem'}"


def test_a_key_file_opens_with_its_passphrase_alone(file) -> None:
    public = keys.new_key(file, said("correct horse"))
    signer = keys.signer(file, public, said("correct horse"))
    public.verify_signature(signer.sign(b"a release"), b"a release")
    error = refused("V3", keys.open_key, file, said("wrong horse"))
    assert "horse" not in str(error) and "horse" not in repr(signer)
    path = Path(file.removeprefix("file:"))
    assert b"ENCRYPTED" in path.read_bytes() and path.stat().st_mode & 0o777 == 0o600


def test_a_key_file_is_standard(file, tmp_path) -> None:
    public = keys.new_key(file, said("correct horse"))
    told = subprocess.run(
        ["openssl", "pkey", "-in", file[5:], "-passin", "pass:correct horse", "-pubout", "-text"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    digits = told[told.index("pub:") + 4 :].replace(":", "").split()
    assert "".join(digits).startswith(public.keyval["public"])


def test_no_key_is_replaced(file) -> None:
    keys.new_key(file, said("correct horse"))
    before = Path(file[5:]).read_bytes()
    refused("V2", keys.new_key, file, said("another one"))
    assert Path(file[5:]).read_bytes() == before


def test_another_key_is_not_taken_for_the_role_s(file, tmp_path) -> None:
    public = keys.new_key(file, said("correct horse"))
    other = f"file:{tmp_path / 'other.pem'}"
    keys.new_key(other, said("correct horse"))
    refused("V2", keys.signer, other, public, said("correct horse"))


def test_keys_that_are_not_kept_well_are_refused(file) -> None:
    refused("V3", keys.new_key, file, said("short"))
    refused("V2", keys.open_key, file, said("correct horse"))
    keys.new_key(file, said("correct horse"))
    path = Path(file[5:])
    path.chmod(0o644)
    assert "chmod 600" in refused("V2", keys.open_key, file, said("correct horse")).mend
    path.chmod(0o600)
    path.write_bytes(CryptoSigner.generate_ed25519().private_bytes)
    refused("V3", keys.open_key, file, said("correct horse"))
    path.write_text("no key")
    refused("V3", keys.open_key, file, said("correct horse"))


def test_only_kinds_of_keys_that_devices_check_sign(file) -> None:
    for other in (X25519PrivateKey.generate(), ec.generate_private_key(ec.SECP521R1())):
        pem = other.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"correct horse")
        )
        Path(file[5:]).write_bytes(pem)
        Path(file[5:]).chmod(0o600)
        assert "Ed25519" in refused("V2", keys.open_key, file, said("correct horse")).mend


def test_a_passphrase_that_is_no_text_opens_what_it_closed(file, monkeypatch) -> None:
    monkeypatch.setenv("FIRNLINE_CHANNEL_PASSPHRASE", os.fsdecode(b"not utf-8: \xff\xfe"))
    public = keys.new_key(file)
    assert keys.signer(file, public).public_key == public


def test_an_empty_file_or_a_folder_is_no_key(file, tmp_path) -> None:
    Path(file[5:]).touch(mode=0o600)
    assert "copy" in refused("V2", keys.open_key, file, said("correct horse")).mend
    error = refused("V2", keys.open_key, f"file:{tmp_path}", said("correct horse"))
    assert "chmod" not in error.mend


@pytest.mark.parametrize("uri", ["root.pem", "file:", "https://keys/1", "env:NOT_SET", ""])
def test_what_is_no_key_is_refused(uri) -> None:
    refused("V2", keys.open_key, uri, said("correct horse"))


def test_secrets_come_from_the_environment_unless_told(monkeypatch) -> None:
    for name in ("FIRNLINE_CHANNEL_PASSPHRASE", "FIRNLINE_CHANNEL_PIN"):
        monkeypatch.delenv(name, raising=False)
    refused("V3", keys.environment, "passphrase of root.pem")
    monkeypatch.setenv("FIRNLINE_CHANNEL_PASSPHRASE", "words")
    monkeypatch.setenv("FIRNLINE_CHANNEL_PIN", "1234")
    assert keys.environment("passphrase of root.pem") == "words"
    assert keys.environment("pin of token fleet") == "1234"


def test_a_key_in_the_environment_signs(monkeypatch) -> None:
    signer = CryptoSigner.generate_ed25519()
    monkeypatch.setenv("SOME_KEY", signer.private_bytes.decode())
    found = keys.signer("env:SOME_KEY", signer.public_key)
    signer.public_key.verify_signature(found.sign(b"x"), b"x")
    monkeypatch.setenv("SOME_KEY", "no PEM")
    refused("V2", keys.open_key, "env:SOME_KEY")
    refused("V2", keys.new_key, "env:SOME_KEY")


@pytest.fixture
def token(tmp_path_factory, monkeypatch):
    """A SoftHSM token; its module reads its configuration once a process."""
    folder = Path(os.environ.get("SOFTHSM2_TESTED", tmp_path_factory.mktemp("hsm")))
    os.environ.setdefault("SOFTHSM2_TESTED", str(folder))
    config = folder / "softhsm2.conf"
    monkeypatch.setenv("SOFTHSM2_CONF", str(config))
    if not config.exists():
        (folder / "tokens").mkdir()
        config.write_text(f"directories.tokendir = {folder / 'tokens'}\nlog.level = ERROR\n")
        subprocess.run(
            [
                *("softhsm2-util", "--init-token", "--free", "--label", "fleet one"),
                *("--pin", "1234", "--so-pin", "5678"),
            ],
            check=True,
            capture_output=True,
        )
    monkeypatch.delenv("PYKCS11LIB", raising=False)
    return lambda number: f"pkcs11:token=fleet%20one;id=%{number:02x}?module-path={MODULE}"


@pytest.mark.skipif(MODULE is None, reason="needs SoftHSM")
def test_a_token_s_key_signs_for_the_channel(token, _keys, releases, tmp_path) -> None:
    made = stands.make_channel(
        tmp_path / "c", secrets=said("1234"), bits=1, uris={"timestamp": [token(1)]}
    )
    repo = Repository(made.folder, secrets=said("1234"))
    releases.put(repo, 1)
    root = repo.state().root.signed
    (keyid,) = root.roles["timestamp"].keyids
    assert root.keys[keyid].scheme == "ecdsa-sha2-nistp256"
    with stands.serving(repo.public) as url:
        device = stands.Device(url, made.root.read_bytes(), tmp_path / "trust")
        assert device.pull().manifest["release"] == releases[1].release
    again = stands.make_channel(
        tmp_path / "d", secrets=said("1234"), bits=1, uris={"timestamp": [token(1)]}
    )
    assert list(again.keys["timestamp"]) == [keyid]
    refused("V2", keys.new_key, token(1), said("1234"))
    refused("V2", keys.open_key, token(9), said("1234"))
    refused("V3", releases.put, Repository(made.folder, secrets=said("4321")), 2)
    refused("V2", keys.open_key, token(1).replace("one", "two"), said("1234"))


def test_a_token_without_a_module_is_refused(monkeypatch) -> None:
    monkeypatch.delenv("PYKCS11LIB", raising=False)
    refused("V2", keys.open_key, "pkcs11:token=fleet;id=%01", said("1234"))
