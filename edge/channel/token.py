"""Keys on a PKCS#11 token: ECDSA P-256 that is made there and never leaves it.

Source: PKCS#11 3.0; RFC 7512 for the URI, of which `token`, `id` and `module-path` are read.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote, unquote_to_bytes

from securesystemslib.exceptions import UnsupportedLibraryError
from securesystemslib.signer import HSMSigner, Key, Signature, Signer, SSlibKey

from edge.channel.keys import Secrets, environment
from firnline.errors import DeliveryError

_NO_KEY = "no key"
_MODULE = "PYKCS11LIB"
"""Where the signer's library looks for the token's module."""


@dataclass(frozen=True)
class Place:
    """Where a key lies.

    Attributes:
        token: Label of the token; None where there is but one.
        number: The key's id on it.
    """

    token: str | None
    number: int


class TokenSigner(Signer):
    """Signs on a token, and says in our words what went wrong there."""

    def __init__(self, place: Place, inner: HSMSigner) -> None:
        self._place, self._inner = place, inner

    @property
    def public_key(self) -> SSlibKey:
        """The key's public half."""
        return self._inner.public_key

    @classmethod
    def from_priv_key_uri(
        cls, priv_key_uri: str, public_key: Key, secrets_handler: Secrets | None = None
    ) -> "TokenSigner":
        """The library's own way in; `edge.channel.keys.signer` holds the key to its role too."""
        found = open_key(priv_key_uri.removeprefix("pkcs11:"), secrets_handler or environment)
        return cls(found._place, found._inner)

    def sign(self, payload: bytes) -> Signature:
        """A signature made on the token.

        Raises:
            DeliveryError: V2 or V3, the token is not there or refuses.
        """
        with _named(self._place):
            return self._inner.sign(payload)


def open_key(rest: str, secrets: Secrets) -> TokenSigner:
    """What signs with a token's key.

    Args:
        rest: The URI after `pkcs11:`.
        secrets: Gives the PIN.

    Raises:
        DeliveryError: V2, no such token or key; V3, a wrong PIN.
    """
    place = _place(rest)

    def pin(_: str) -> str:
        return secrets(f"pin of token {place.token or 'at hand'}")

    with _named(place):
        _, public = HSMSigner.import_(place.number, place.token, pin)
        return TokenSigner(place, HSMSigner(place.number, public, pin, place.token))


def new_key(rest: str, secrets: Secrets) -> SSlibKey:
    """Make a key on a token.

    Raises:
        DeliveryError: V2, a key is there already, or no such token; V3, a wrong PIN.
    """
    if _found(rest, secrets) is not None:
        place = _place(rest)
        raise _broken(place, "a key is there already", "name another id; no key is replaced")
    return _made(rest, secrets)


def ensure(rest: str, secrets: Secrets) -> SSlibKey:
    """The public half of a token's key; it is made where there is none.

    Raises:
        DeliveryError: V2, no such token; V3, a wrong PIN.
    """
    found = _found(rest, secrets)
    return found.public_key if found is not None else _made(rest, secrets)


def _found(rest: str, secrets: Secrets) -> TokenSigner | None:
    try:
        return open_key(rest, secrets)
    except DeliveryError as error:
        if error.code == "V2" and error.found.startswith(_NO_KEY):
            return None
        raise


def _made(rest: str, secrets: Secrets) -> SSlibKey:
    place = _place(rest)
    with _named(place):
        _generate(place, secrets(f"pin of token {place.token or 'at hand'}"))
        _, public = HSMSigner.import_(place.number, place.token)
    return public


def _generate(place: Place, pin: str) -> None:
    import pkcs11
    from pkcs11.util import biginteger
    from pkcs11.util.ec import encode_named_curve_parameters

    found = pkcs11.lib(os.environ[_MODULE]).get_token(
        token_label=place.token, token_flags=pkcs11.TokenFlag.TOKEN_INITIALIZED
    )
    curve = {pkcs11.Attribute.EC_PARAMS: encode_named_curve_parameters("secp256r1")}
    with found.open(rw=True, user_pin=pin) as session:
        parameters = session.create_domain_parameters(pkcs11.KeyType.EC, curve, local=True)
        parameters.generate_keypair(id=biginteger(place.number), store=True)


def _place(rest: str) -> Place:
    """Token and id of a URI; the module that it names is the one that is used."""
    path, _, query = rest.partition("?")
    fields = dict(part.split("=", 1) for part in path.split(";") if "=" in part)
    module = dict(parse_qsl(query)).get("module-path")
    if module:
        os.environ[_MODULE] = module
    number = int.from_bytes(unquote_to_bytes(fields["id"]), "big") if "id" in fields else None
    token = unquote(fields["token"]) if "token" in fields else None
    place = Place(token, HSMSigner.SCHEME_KEYID if number is None else number)
    if not os.environ.get(_MODULE):
        raise _broken(place, "no module", f"add ?module-path=FILE to the URI, or set {_MODULE}")
    return place


@contextmanager
def _named(place: Place) -> Iterator[None]:
    """The libraries' errors in our words."""
    try:
        import pkcs11
    except ImportError as error:
        raise _broken(place, "no python-pkcs11", "install python-pkcs11 here") from error
    try:
        yield
    except UnsupportedLibraryError as error:
        raise _broken(place, "no python-pkcs11", "install python-pkcs11 here") from error
    except (pkcs11.PinIncorrect, pkcs11.PinInvalid, pkcs11.PinLenRange) as error:
        raise DeliveryError(
            "V3", found="a wrong PIN", where=f"token {place.token}", mend="give the token's PIN"
        ) from error
    except (pkcs11.PKCS11Error, ValueError) as error:
        lacking = "could not find" in str(error) or "No keys" in str(error)
        found = f"{_NO_KEY} {place.number}" if lacking else (str(error) or type(error).__name__)
        raise _broken(place, found, "plug the token in, or name the key that is on it") from error


def _broken(place: Place, found: str, mend: str) -> DeliveryError:
    return DeliveryError("V2", found=found, where=f"token {place.token or 'at hand'}", mend=mend)
