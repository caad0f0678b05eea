"""Signing keys by URI: an encrypted file, the environment, or a PKCS#11 token.

| URI | key |
|---|---|
| `file:PATH` | ed25519, encrypted PKCS#8 in PEM, readable by its owner alone |
| `env:NAME` | PKCS#8 in PEM in an environment variable, as a secret store gives it |
| `pkcs11:token=LABEL;id=%02?module-path=FILE` | ECDSA P-256 that never leaves a token (RFC 7512) |
| `public:PATH` | the public half alone, in PEM: of a key whose holder signs elsewhere |
"""

import os
from collections.abc import Callable
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from securesystemslib.signer import CryptoSigner, Key, Signer, SSlibKey

from edge.channel import pkcs8
from edge.disk import Disk, RealDisk
from firnline.errors import DeliveryError

Secrets = Callable[[str], str]
"""Asked for one secret by its name, as `passphrase of root-1.pem` or `pin of token fleet`."""
PASSPHRASE, PIN = "FIRNLINE_CHANNEL_PASSPHRASE", "FIRNLINE_CHANNEL_PIN"
_SHORTEST = 8


def environment(what: str) -> str:
    """A secret from the environment: what asks for a PIN gets it, all else gets the passphrase.

    Raises:
        DeliveryError: V3, the variable is not set.
    """
    variable = PIN if what.startswith("pin ") else PASSPHRASE
    found = os.environ.get(variable)
    if not found:
        raise _locked("no secret was given", what, f"set {variable}, or answer the prompt")
    return found


def new_key(uri: str, secrets: Secrets = environment, *, disk: Disk | None = None) -> SSlibKey:
    """Make a key where a URI says; one that is there is never replaced.

    Args:
        uri: `file:` or `pkcs11:`.
        secrets: Gives the passphrase or PIN that the key will need from now on.
        disk: Where a file is written; the real one unless told.

    Returns:
        Its public half.

    Raises:
        DeliveryError: V2, a key is there already or the URI cannot hold one; V3, the secret is
            missing or shorter than 8 characters.
    """
    scheme, rest = _split(uri)
    if scheme == "pkcs11":
        from edge.channel import token

        return token.new_key(rest, secrets)
    if scheme != "file":
        raise _mismatch("nothing can be made there", uri, "make keys in a file or on a token")
    path = Path(rest)
    if path.exists():
        raise _mismatch("a key is there already", uri, "name another place; no key is replaced")
    passphrase = secrets(f"passphrase of {path.name}")
    if len(passphrase) < _SHORTEST:
        raise _locked("a passphrase of under 8 characters", uri, "choose a longer one")
    private = Ed25519PrivateKey.generate()
    plain = private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    (disk or RealDisk()).write(path, pkcs8.encrypt(plain, os.fsencode(passphrase)), mode=0o600)
    return SSlibKey.from_crypto(private.public_key())


def ensure(uri: str, secrets: Secrets = environment, *, disk: Disk | None = None) -> Key:
    """The public half of a key; a file or a token that has none gets one.

    Raises:
        DeliveryError: V2 or V3, as `new_key` and `open_key`.
    """
    scheme, rest = _split(uri)
    if scheme == "public":
        return _public(Path(rest), uri)
    if scheme == "pkcs11":
        from edge.channel import token

        return token.ensure(rest, secrets)
    if scheme == "file" and not there(uri):
        return new_key(uri, secrets, disk=disk)
    return open_key(uri, secrets).public_key


def there(uri: str) -> bool:
    """Whether a URI holds a key already, as far as can be told without its secret."""
    scheme, rest = _split(uri)
    if scheme in ("file", "public"):
        return Path(rest).exists()
    return scheme == "env" and rest in os.environ


def elsewhere(uri: str) -> bool:
    """Whether a URI has the public half alone: its holder signs somewhere else."""
    return uri.startswith("public:")


def public_pem(key: Key) -> bytes:
    """The public half of a key of ours, as `public:PATH` reads it: SubjectPublicKeyInfo in PEM."""
    found = str(key.keyval["public"])
    if key.keytype != "ed25519":
        return found.encode()
    raw = Ed25519PublicKey.from_public_bytes(bytes.fromhex(found))
    return raw.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def open_key(uri: str, secrets: Secrets = environment) -> Signer:
    """What signs with a key, and carries the key's public half.

    Raises:
        DeliveryError: V2, no usable key there; V3, its secret is wrong or missing.
    """
    scheme, rest = _split(uri)
    if scheme == "pkcs11":
        from edge.channel import token

        return token.open_key(rest, secrets)
    private = _private(uri, secrets)
    curve = private.curve if isinstance(private, EllipticCurvePrivateKey) else None
    if not isinstance(private, Ed25519PrivateKey) and not isinstance(curve, SECP256R1):
        raise _mismatch(
            "a private key that is neither Ed25519 nor ECDSA P-256",
            uri,
            "make an Ed25519 key: `firnline channel key file:PATH`",
        )
    return CryptoSigner(private)


def signer(uri: str, public_key: Key, secrets: Secrets = environment) -> Signer:
    """What signs with exactly the key that a role names.

    Args:
        uri: Where the private half is.
        public_key: The public half, as the metadata have it.
        secrets: Gives the passphrase or PIN.

    Raises:
        DeliveryError: V2, the key is missing or is another one; V3, its secret is wrong.
    """
    found = open_key(uri, secrets)
    if found.public_key != public_key:
        raise _mismatch(
            f"key {found.public_key.keyid[:12]}, not {public_key.keyid[:12]}",
            uri,
            "name the role's own key in channel.json, or rotate the role to this one",
        )
    return found


def _public(path: Path, uri: str) -> SSlibKey:
    try:
        return SSlibKey.from_crypto(load_pem_public_key(path.read_bytes()))
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        mend = "have its holder write it again with `firnline channel key URI --public FILE`"
        raise _mismatch("no readable public key in PEM", uri, mend) from error


def _private(uri: str, secrets: Secrets) -> PrivateKeyTypes:
    scheme, rest = _split(uri)
    if scheme == "public":
        raise _mismatch(
            "a public half, which signs nothing", uri, "sign where the key is: `channel sign`"
        )
    pem = _from_file(Path(rest), uri) if scheme == "file" else os.environ.get(rest, "").encode()
    if not pem:
        mend = f"set {rest} to the key's PEM" if scheme == "env" else "restore it from its copy"
        raise _mismatch("no key", uri, mend)
    sealed = b"ENCRYPTED PRIVATE KEY" in pem
    if scheme == "file" and not sealed:
        raise _locked("a key that no passphrase protects", uri, "encrypt it: `openssl pkcs8`")
    # Bytes of the environment that are no UTF-8 are a passphrase as good as any.
    passphrase = os.fsencode(secrets(f"passphrase of {Path(rest).name}")) if sealed else None
    try:
        return load_pem_private_key(pem, passphrase)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        if "password" in str(error).lower():
            raise _locked("a wrong passphrase", uri, "give the key's own passphrase") from None
        raise _mismatch("no readable PKCS#8 key", uri, "restore the key from its copy") from None


def _from_file(path: Path, uri: str) -> bytes:
    try:
        if path.is_file() and path.stat().st_mode & 0o077:
            raise _mismatch("a key that others may read", uri, f"`chmod 600 {path}`")
        return path.read_bytes()
    except OSError as error:
        mend = "restore the key from its copy, or rotate the role to another key"
        raise _mismatch(f"no readable key: {error.strerror}", uri, mend) from error


def _split(uri: str) -> tuple[str, str]:
    scheme, colon, rest = uri.partition(":")
    if not colon or not rest or scheme not in ("file", "env", "pkcs11", "public"):
        raise _mismatch(
            "no URI of a key",
            uri[:80],
            "name it as file:PATH, env:NAME, pkcs11:token=LABEL;id=%02 or public:PATH",
        )
    return scheme, rest


def _mismatch(found: str, where: str, mend: str) -> DeliveryError:
    return DeliveryError("V2", found=found, where=f"the key {where}", mend=mend)


def _locked(found: str, where: str, mend: str) -> DeliveryError:
    return DeliveryError("V3", found=found, where=where, mend=mend)
