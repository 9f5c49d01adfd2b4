"""Reading the form that adds or edits a cache."""

import re
from collections.abc import Mapping
from dataclasses import replace

from dashboard.caches.types import (
    LONGEST_NAME,
    LONGEST_POLL_S,
    SHORTEST_POLL_S,
    CacheForm,
    Environment,
    TypedCache,
)
from dashboard.errors import InvalidInput
from dashboard.fleet.url import HIDDEN, CacheUrl, parse_url, redacted

LONGEST_PASSWORD = 1024


def typed(values: Mapping[str, str]) -> TypedCache:
    """What to show again in a refused form: all but the passwords, wherever they were typed."""
    url = values.get("url", "")[:4096]
    return TypedCache(
        name=values.get("name", "")[:200],
        url=redacted(url),
        environment=values.get("environment", ""),
        poll_interval_s=values.get("poll_interval_s", "")[:20],
        hit_ratio_target=values.get("hit_ratio_target", "")[:20],
        read_only="read_only" in values,
        forget_password="forget_password" in values,
        had_password=bool(values.get("password")) or _has_password(url),
    )


def _has_password(url: str) -> bool:
    try:
        return bool(parse_url(url).secrets)
    except InvalidInput:
        return redacted(url) != url.strip()


def parse(values: Mapping[str, str]) -> CacheForm:
    """Read and check every field.

    Raises:
        InvalidInput: a message per wrong field; none repeats what was typed as URL or password.
    """
    errors: dict[str, str] = {}
    name = _name(values.get("name", ""), errors)
    url = _url(values, errors)
    environment = _environment(values.get("environment", ""), errors)
    interval = _interval(values.get("poll_interval_s", ""), errors)
    target = _target(values.get("hit_ratio_target", ""), errors)
    if errors or url is None or environment is None:
        raise InvalidInput("The cache was not saved.", fields=errors)
    revision = values.get("revision", "")
    return CacheForm(
        name=name,
        url=url,
        environment=environment,
        poll_interval_s=interval,
        read_only="read_only" in values,
        hit_ratio_target=target,
        forget_password="forget_password" in values,
        revision=int(revision) if re.fullmatch(r"[0-9]{1,9}", revision) else None,
    )


def parse_test(values: Mapping[str, str]) -> CacheUrl:
    """Read only what the connection test needs.

    Raises:
        InvalidInput: as ``parse``.
    """
    errors: dict[str, str] = {}
    url = _url(values, errors)
    if errors or url is None:
        raise InvalidInput("The connection was not tested.", fields=errors)
    return url


def _name(text: str, errors: dict[str, str]) -> str:
    name = " ".join(text.split())
    if not name:
        errors["name"] = "Enter a name, for example shop-prod."
    elif len(name) > LONGEST_NAME:
        errors["name"] = f"The name is longer than {LONGEST_NAME} characters."
    elif not name.isprintable():
        errors["name"] = "The name contains a character that can't be seen."
    return name


def _url(values: Mapping[str, str], errors: dict[str, str]) -> CacheUrl | None:
    password = values.get("password", "")
    try:
        url = parse_url(values.get("url", ""))
    except InvalidInput as error:
        errors["url"] = error.fields["url"]
        return None
    if HIDDEN in (url.password, url.sentinel_password):
        errors["url"] = (
            f"{HIDDEN} stands for a password that is not shown: leave it out, or type the password."
        )
        return None
    if not password:
        if url.password and "forget_password" in values:
            errors["password"] = (
                "The URL holds a password: take it out, or untick Connect without a password."
            )
            return None
        return url
    if len(password) > LONGEST_PASSWORD:
        errors["password"] = f"The password is longer than {LONGEST_PASSWORD} characters."
    elif url.password is not None and url.password != password:
        errors["password"] = "The URL holds another password: write it in one place only."
    elif "forget_password" in values:
        errors["password"] = "A password was typed: leave it out, or untick Connect without a password."
    else:
        return replace(url, password=password)
    return None


def _environment(text: str, errors: dict[str, str]) -> Environment | None:
    try:
        return Environment(text)
    except ValueError:
        errors["environment"] = "Choose Production or Development."
        return None


def _interval(text: str, errors: dict[str, str]) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text.strip()):
        errors["poll_interval_s"] = f"Enter whole seconds from {SHORTEST_POLL_S} to {LONGEST_POLL_S}."
        return 0
    seconds = int(text)
    if not SHORTEST_POLL_S <= seconds <= LONGEST_POLL_S:
        errors["poll_interval_s"] = f"{seconds} s is outside {SHORTEST_POLL_S} to {LONGEST_POLL_S} s."
    return seconds


def _target(text: str, errors: dict[str, str]) -> float:
    if not re.fullmatch(r"[0-9]{1,2}(\.[0-9]{1,2})?", text.strip()) or not 1 <= float(text) <= 99.99:
        errors["hit_ratio_target"] = "Enter per cent from 1 to 99.99, for example 80."
        return 0.0
    return round(float(text) / 100, 6)
