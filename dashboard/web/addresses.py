"""Keys in addresses and forms: any bytes as base64url without padding. Pure."""

import base64
import binascii
import re
from typing import Final

from dashboard.errors import InvalidInput

_BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]*={0,2}")


def key_to_text(key: bytes) -> str:
    """A key as it stands in an address."""
    return base64.urlsafe_b64encode(key).rstrip(b"=").decode()


def key_from_text(text: str) -> bytes:
    """The key of an address.

    Raises:
        InvalidInput: it is no base64url.
    """
    bare = text.rstrip("=")
    try:
        if _BASE64URL.fullmatch(text) is None:
            raise binascii.Error
        return base64.urlsafe_b64decode(bare + "=" * (-len(bare) % 4))
    except (binascii.Error, ValueError):
        raise InvalidInput(
            "The key in this address can't be read.",
            what_to_do="Find it in the list of keys and open it there.",
        ) from None
