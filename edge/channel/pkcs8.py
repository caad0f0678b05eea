"""Private keys at rest: PKCS#8 in PEM, encrypted under scrypt.

The library writes PKCS#8 with 2,048 rounds of PBKDF2, which a graphics card tries a million times a
second; scrypt costs an attacker 16 MiB a try. The file is standard: `openssl pkey -in` reads it.
Source: RFC 8018 (PBES2), RFC 7914 section 7 (scrypt in PKCS#8), RFC 7468 (PEM).
"""

import base64
import os

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from cryptography.hazmat.primitives.padding import PKCS7

_PBES2 = bytes.fromhex("2a864886f70d01050d")
_SCRYPT = bytes.fromhex("2b06010401da47040b")
_AES_256_CBC = bytes.fromhex("60864801650304012a")
_COST, _BLOCK, _LANES = 1 << 14, 8, 1
_SEQUENCE, _INTEGER, _OCTETS, _OID = 0x30, 0x02, 0x04, 0x06


def encrypt(plain: bytes, passphrase: bytes) -> bytes:
    """A private key encrypted for a file.

    Args:
        plain: PKCS#8 PrivateKeyInfo in DER, not encrypted.
        passphrase: What opens it again.

    Returns:
        PEM `ENCRYPTED PRIVATE KEY`.
    """
    salt, vector = os.urandom(16), os.urandom(16)
    key = Scrypt(salt, length=32, n=_COST, r=_BLOCK, p=_LANES).derive(passphrase)
    padder = PKCS7(128).padder()
    cipher = Cipher(algorithms.AES(key), modes.CBC(vector)).encryptor()
    sealed = cipher.update(padder.update(plain) + padder.finalize()) + cipher.finalize()
    stretch = _der(_SEQUENCE, _der(_OCTETS, salt), *map(_integer, (_COST, _BLOCK, _LANES)))
    scheme = _der(
        _SEQUENCE,
        _der(_SEQUENCE, _der(_OID, _SCRYPT), stretch),
        _der(_SEQUENCE, _der(_OID, _AES_256_CBC), _der(_OCTETS, vector)),
    )
    algorithm = _der(_SEQUENCE, _der(_OID, _PBES2), scheme)
    return _pem(_der(_SEQUENCE, algorithm, _der(_OCTETS, sealed)))


def _der(tag: int, *contents: bytes) -> bytes:
    """One DER value (X.690, section 8.1)."""
    body = b"".join(contents)
    size = len(body)
    if size < 0x80:
        return bytes((tag, size)) + body
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + body


def _integer(value: int) -> bytes:
    return _der(_INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def _pem(der: bytes) -> bytes:
    text = base64.b64encode(der).decode()
    lines = "\n".join(text[start : start + 64] for start in range(0, len(text), 64))
    label = "ENCRYPTED PRIVATE KEY"
    return f"-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n".encode()
