"""Encryption of stored credentials with a key derived from ``CACHEWARDEN_SECRET_KEY``."""

import base64

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from dashboard.errors import ConfigError


class Cipher:
    """Encrypts small texts; authenticated, so a changed ciphertext is noticed.

    The secret key is long and random, so HKDF (RFC 5869) is the right derivation; the label keeps
    this key apart from the one that signs session cookies.
    """

    def __init__(self, secret_key: str) -> None:
        key = HKDF(SHA256(), length=32, salt=None, info=b"cachewarden credentials v1").derive(
            secret_key.encode()
        )
        self._fernet = Fernet(base64.urlsafe_b64encode(key))

    def encrypt(self, text: str) -> bytes:
        """Return ``text`` encrypted."""
        return self._fernet.encrypt(text.encode())

    def decrypt(self, token: bytes) -> str:
        """Return the text again.

        Raises:
            ConfigError: it was encrypted with another secret key, or was changed.
        """
        try:
            return self._fernet.decrypt(token).decode()
        except InvalidToken:
            raise ConfigError(
                "Stored credentials can't be decrypted: CACHEWARDEN_SECRET_KEY is not the one they were"
                " stored with.",
                what_to_do="Set the earlier key again, or enter each cache's URL anew on the Connections page.",
            ) from None
