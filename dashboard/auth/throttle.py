"""How many wrong passwords are looked at: counted in PostgreSQL, so that all web processes count together.

A try is counted before its password is verified and taken back when it was right; so tries at the same
moment can't all pass a check made before any of them failed. What closes is one account *from one address*,
or one address for all accounts; nobody can lock an account's owner out from somewhere else.
"""

import hashlib
import hmac
import ipaddress
from dataclasses import dataclass
from datetime import timedelta

from dashboard.auth import store
from dashboard.work import UnitOfWork

PAIR_LIMIT = 5  # wrong passwords for one account from one address
ADDRESS_LIMIT = 20  # wrong passwords from one address for all accounts
AUDIT_LIMIT = 200  # failed sign-ins from everywhere that are listed one by one
WINDOW = timedelta(minutes=15)
MOST_ROWS = 20_000


@dataclass(frozen=True, slots=True)
class Try:
    """A counted try.

    Args:
        wait_s: seconds the caller must wait; 0 means the password may be looked at.
        tries_left: how many more wrong ones are looked at after this one.
        is_first_refusal: whether this is the try that found the door closed first (worth an audit entry).
    """

    wait_s: int
    tries_left: int
    is_first_refusal: bool


def begin(work: UnitOfWork, account: str) -> Try:
    """Count a try for ``account`` from the actor's address.

    The address is always counted before the pair: one order of locks, no deadlock.

    Args:
        account: the name as typed, whether there is such an account or not.
    """
    address = store.count_try(
        work.session, _address_key(work), None, now=work.now, window=WINDOW, limit=ADDRESS_LIMIT
    )
    if address.failures > ADDRESS_LIMIT:
        return _closed(work, address, ADDRESS_LIMIT)
    pair = store.count_try(
        work.session,
        _key(work, "pair", account.lower(), _address(work)),
        _account_key(work, account),
        now=work.now,
        window=WINDOW,
        limit=PAIR_LIMIT,
    )
    if pair.failures > PAIR_LIMIT:
        # Not looked at, so not a wrong password: somebody who keeps pressing must not close the address.
        store.take_try_back(work.session, _address_key(work))
        return _closed(work, pair, PAIR_LIMIT)
    left = min(PAIR_LIMIT - pair.failures, ADDRESS_LIMIT - address.failures)
    return Try(wait_s=0, tries_left=left, is_first_refusal=False)


def begin_link(work: UnitOfWork) -> Try:
    """Count a try to sign in by a link, among all of the actor's address: a link names no account."""
    address = store.count_try(
        work.session, _address_key(work), None, now=work.now, window=WINDOW, limit=ADDRESS_LIMIT
    )
    if address.failures > ADDRESS_LIMIT:
        return _closed(work, address, ADDRESS_LIMIT)
    return Try(wait_s=0, tries_left=ADDRESS_LIMIT - address.failures, is_first_refusal=False)


def link_passed(work: UnitOfWork) -> None:
    """The link of the try was good: take the count back."""
    store.take_try_back(work.session, _address_key(work))


def passed(work: UnitOfWork, account: str) -> None:
    """The password of the try was right: forget the pair's wrong ones and take the address's count back."""
    store.take_try_back(work.session, _address_key(work))
    store.forget_tries(work.session, _key(work, "pair", account.lower(), _address(work)))


def failed(work: UnitOfWork) -> None:
    """The password of the try was wrong: tidy the table up."""
    store.clean_tries(work.session, now=work.now, most_rows=MOST_ROWS)


def reopen(work: UnitOfWork, account: str) -> None:
    """Let the account sign in again from everywhere (an administrator gave it a new password)."""
    store.forget_tries_for(work.session, _account_key(work, account))


def room_in_log(work: UnitOfWork) -> int:
    """How many failed sign-ins may still be listed after this one; bounds the audit log under attack.

    0 is the last one listed within the window, less than 0 is not listed any more.
    """
    key = _key(work, "audit")
    counted = store.count_try(work.session, key, None, now=work.now, window=WINDOW, limit=AUDIT_LIMIT)
    return AUDIT_LIMIT - counted.failures


def _closed(work: UnitOfWork, counted: store.Counted, limit: int) -> Try:
    wait_s = max(1, round((counted.expires_at - work.now).total_seconds()))
    return Try(wait_s=wait_s, tries_left=0, is_first_refusal=counted.failures == limit + 1)


def _address(work: UnitOfWork) -> str:
    """The network address as one client can have it: an IPv6 /64, an IPv4 address, or "local"."""
    try:
        address = ipaddress.ip_address((work.actor.address or "").partition("%")[0])
    except ValueError:
        return "local"
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)


def _address_key(work: UnitOfWork) -> bytes:
    return _key(work, "address", _address(work))


def _account_key(work: UnitOfWork, account: str) -> bytes:
    return _key(work, "account", account.lower())


def _key(work: UnitOfWork, *parts: str) -> bytes:
    # Keyed, so that the table tells nobody who tried to sign in from where (people type passwords as names).
    secret = work.settings.secret_key.get_secret_value().encode()
    return hmac.digest(secret, "\0".join(("throttle", *parts)).encode("utf-8", "replace"), hashlib.sha256)
