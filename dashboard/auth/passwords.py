"""Password rules and hashes (argon2id). Pure, but for the random salt."""

import functools
import secrets
import threading
import unicodedata

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError

SHORTEST = 12  # characters
LARGEST_BYTES = 1024
FEWEST_DIFFERENT = 5

# RFC 9106's second recommendation: 3 passes over 64 MiB in 4 lanes; some 60 ms on a small server.
HASHER = PasswordHasher(time_cost=3, memory_cost=65536, parallelism=4)
# Each hash takes 64 MiB for its time: as many at once as there are threads would exhaust a container.
_AT_ONCE = threading.BoundedSemaphore(2)


def problem(password: str, name: str) -> str:
    """What is wrong with a new password, with the way out; empty when it may be used.

    Args:
        password: as typed.
        name: the account it is for.
    """
    password = _normal(password)
    try:
        size = len(password.encode())
    except UnicodeEncodeError:
        return "Holds characters that are no text. Type it again."
    if len(password) < SHORTEST:
        return f"Has {len(password)} characters. Use {SHORTEST} or more; a few words do well."
    if size > LARGEST_BYTES:
        return f"Is longer than {LARGEST_BYTES} bytes. Use a shorter one."
    if len(set(password)) < FEWEST_DIFFERENT:
        return f"Holds fewer than {FEWEST_DIFFERENT} different characters. Use a few words."
    if password.casefold() == name.casefold():
        return "Is the name of the account. Use something else."
    return ""


def hash_password(password: str) -> str:
    """The argon2id hash with its parameters and a fresh salt."""
    with _AT_ONCE:
        return HASHER.hash(_normal(password))


def verify(password_hash: str, password: str) -> bool:
    """Whether the password belongs to the hash. One call costs one hash, right or wrong."""
    password = _normal(password)
    try:
        if len(password.encode()) > LARGEST_BYTES:
            return False
        with _AT_ONCE:
            return HASHER.verify(password_hash, password)
    except VerifyMismatchError:
        return False
    except (VerificationError, InvalidHashError, UnicodeEncodeError):
        return False


def needs_rehash(password_hash: str) -> bool:
    """Whether the hash was made with other parameters than today's."""
    return HASHER.check_needs_rehash(password_hash)


@functools.cache
def unknown_account_hash() -> str:
    """A hash that no password fits, verified for names without an account so that they cost the same."""
    return HASHER.hash(secrets.token_urlsafe(32))


def _normal(password: str) -> str:
    # The same letters typed on different systems may arrive composed or decomposed.
    return unicodedata.normalize("NFC", password)
