"""Addresses of caches: what an administrator types, checked and taken apart.

A message of this module never repeats what was typed: a misplaced character can turn any part of a URL
into part of a password.
"""

import ipaddress
import re
from dataclasses import dataclass, field, replace
from enum import StrEnum
from urllib.parse import quote, unquote_to_bytes

from dashboard.errors import InvalidInput

REDIS_PORT = 6379
SENTINEL_PORT = 26379
MOST_NODES = 32
LONGEST = 4096
HIDDEN = "***"

EXAMPLES = (
    "redis://user:password@host:6379/0",
    "rediss://user:password@host:6379/0",
    "unix:///run/redis/redis.sock?db=0",
    "redis+sentinel://user:password@host-1:26379,host-2:26379/service/0",
    "redis+cluster://user:password@host-1:7000,host-2:7000",
)


class Kind(StrEnum):
    """How the servers of a cache belong together."""

    SERVER = "server"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


@dataclass(frozen=True, slots=True)
class Address:
    """Host and port of one server; an IPv6 address has no brackets in ``host``."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class CacheUrl:
    """One cache's address and credentials.

    Args:
        kind: a server, a Sentinel group or a Cluster.
        nodes: where to begin: the server, the Sentinels, or some nodes of the Cluster; empty for ``path``.
        path: Unix socket, instead of ``nodes``.
        tls: encrypted connection.
        username: ACL user; None is Redis' default user.
        password: None when there is none.
        db: number of the logical database.
        service: the name under which the Sentinels know the primary.
        sentinel_username: ACL user on the Sentinels themselves.
        sentinel_password: password of the Sentinels themselves.
        verify: check the certificate and the name in it.
        ca_file: path to the certificates to trust instead of the system's.
        cert_file: path to our own certificate, for servers that ask for one.
        key_file: path to that certificate's key.
    """

    kind: Kind
    nodes: tuple[Address, ...] = ()
    path: str | None = None
    tls: bool = False
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    db: int = 0
    service: str | None = None
    sentinel_username: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)
    verify: bool = True
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None

    def __str__(self) -> str:
        return self.masked

    def to_text(self) -> str:
        """The whole URL **with its passwords**, for encrypted storage only; ``parse_url`` reads it back."""
        return self._text(self.password, self.sentinel_password)

    @property
    def masked(self) -> str:
        """The URL with each password shown as ``***``: for the audit log and for errors."""
        return self._text(self.password and HIDDEN, self.sentinel_password and HIDDEN)

    @property
    def without_secrets(self) -> str:
        """The URL with the passwords left out: what a form may show."""
        return self._text(None, None)

    @property
    def address(self) -> str:
        """Short form for a table: ``cache-01:6379``, ``search-[1-6]:7000``, ``a:7000 + 2``, ``/run/redis.sock``."""
        if self.path is not None:
            return self.path
        return _folded(self.nodes)

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every password in it, so that foreign error texts can be scrubbed."""
        return tuple(text for text in (self.password, self.sentinel_password) if text)

    def same_target(self, other: "CacheUrl") -> bool:
        """Whether a password stored for ``other`` may be sent to this URL as well.

        True only when it reaches the same servers as the same user with at least the same protection, so
        that editing an address can't carry a stored password to another host, or there in the clear.
        """
        mine = replace(self, password=None, sentinel_password=None, db=0)
        theirs = replace(other, password=None, sentinel_password=None, db=0)
        return mine == theirs

    def _text(self, password: str | None, sentinel_password: str | None) -> str:
        scheme = "unix" if self.path is not None else "rediss" if self.tls else "redis"
        if self.kind is not Kind.SERVER:
            scheme += f"+{self.kind.value}"
        login = ""
        if self.username is not None or password is not None:
            login = _quoted(self.username or "")
            login += (
                f":{password if password == HIDDEN else _quoted(password)}@" if password is not None else "@"
            )
        query = []
        if self.path is not None:
            where = quote(self.path, safe="/")
            if self.db:
                query.append(f"db={self.db}")
        else:
            where = ",".join(str(node) for node in self.nodes)
            if self.kind is Kind.SENTINEL:
                where += f"/{_quoted(self.service or '')}"
            if self.kind is not Kind.CLUSTER:
                where += f"/{self.db}"
        if self.sentinel_username is not None:
            query.append(f"sentinel_username={_quoted(self.sentinel_username)}")
        if sentinel_password is not None:
            shown = sentinel_password if sentinel_password == HIDDEN else _quoted(sentinel_password)
            query.append(f"sentinel_password={shown}")
        if not self.verify:
            query.append("ssl_cert_reqs=none")
        for name, value in zip(_FILES, (self.ca_file, self.cert_file, self.key_file), strict=True):
            if value is not None:
                query.append(f"{name}={quote(value, safe='/')}")
        return f"{scheme}://{login}{where}" + ("?" + "&".join(query) if query else "")


_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_SCHEMES: dict[str, tuple[Kind, bool]] = {
    "redis": (Kind.SERVER, False),
    "rediss": (Kind.SERVER, True),
    "redis+sentinel": (Kind.SENTINEL, False),
    "rediss+sentinel": (Kind.SENTINEL, True),
    "redis+cluster": (Kind.CLUSTER, False),
    "rediss+cluster": (Kind.CLUSTER, True),
    "unix": (Kind.SERVER, False),
}
_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_.])?")


def parse_url(text: str) -> CacheUrl:
    """Take a URL apart and check every part.

    Args:
        text: what was typed; blanks around it are ignored.

    Raises:
        InvalidInput: says what is wrong and what to write instead, without repeating the input.
    """
    text = text.strip()
    if not text:
        raise _bad("Enter the cache's URL", f"for example {EXAMPLES[0]}.")
    if len(text) > LONGEST:
        raise _bad(
            f"The URL is longer than {LONGEST:,} characters", "check that nothing else was pasted with it."
        )
    if any(character.isspace() or not character.isprintable() for character in text):
        raise _bad("The URL contains a blank or a control character", "write a blank in a password as %20.")
    scheme, separator, rest = text.partition("://")
    scheme = scheme.lower()
    # host:6379 and user:password@host have none; javascript:… and mailto:… have another.
    has_other = re.match(r"[a-z][a-z0-9+.-]*:[^0-9/]", text, re.IGNORECASE) and "@" not in text
    if not separator and not has_other:
        raise _bad("The URL has no scheme", f"start with redis:// , for example {EXAMPLES[0]}.")
    if scheme not in _SCHEMES:
        raise _bad(
            "The URL's scheme is not one of a Redis cache", f"use {', '.join(f'{s}://' for s in _SCHEMES)}."
        )
    if "#" in rest:
        raise _bad("The URL contains a # character", "in a password, write it as %23.")
    kind, tls = _SCHEMES[scheme]
    rest, _, query = rest.partition("?")
    if "@" in query:
        raise _bad(
            "The URL contains a ? before an @ character", "in a password, write ? as %3F and @ as %40."
        )
    authority, _, path = rest.partition("/")
    if "@" in path:
        raise _bad(
            "The URL contains a / before an @ character", "in a password, write / as %2F and @ as %40."
        )
    login, _, hosts = authority.rpartition("@")
    if "@" in login:
        raise _bad(
            "The URL contains more than one @ character", "in a user name or password, write it as %40."
        )
    username, password = _login(login)
    options = _options(query, kind, tls)
    common = {"kind": kind, "tls": tls, "username": username, "password": password}

    if scheme == "unix":
        if hosts or not path:
            raise _bad("A socket's URL needs the whole path", f"write three slashes: {EXAMPLES[2]}.")
        return CacheUrl(**common, **options, path="/" + _unquoted(path))  # type: ignore[arg-type]

    nodes = _nodes(hosts, SENTINEL_PORT if kind is Kind.SENTINEL else REDIS_PORT)
    if kind is Kind.SERVER and len(nodes) > 1:
        raise _bad(
            "The URL names several servers",
            "use redis+sentinel:// or redis+cluster://, or add each server as a cache of its own.",
        )
    service = None
    if kind is Kind.SENTINEL:
        name, _, path = path.partition("/")
        service = _unquoted(name)
        if not service:
            raise _bad("The Sentinel service's name is missing", f"write it after the hosts: {EXAMPLES[3]}.")
    path = path.removesuffix("/")
    if path and kind is Kind.CLUSTER:
        if path != "0":
            raise _bad("A Cluster has database 0 only", "leave the part after the hosts out.")
    elif path:
        if "db" in options:
            raise _bad("The URL gives the database number twice", "leave db= out.")
        options["db"] = _db(path)
    return CacheUrl(**common, **options, nodes=nodes, service=service)  # type: ignore[arg-type]


def redacted(text: str) -> str:
    """What was typed, with all that may be a password removed, to show it in a refused form."""
    try:
        return parse_url(text).without_secrets
    except InvalidInput:
        pass
    text = re.sub(r"(?i)(password=)[^&]*", r"\1", text.strip())
    before, at, after = text.rpartition("@")
    if not at:
        # Without an @ a colon can only be followed by a port, or by a password that lost its host.
        return re.sub(r"(?<!//)(:)(?!//)(?!\d{1,5}(?:[/?,]|$))[^/]*", r"\1", text)
    scheme, separator, login = before.partition("://")
    if not separator:
        return after
    user, colon, _ = login.partition(":")
    return f"{scheme}://{user}@{after}" if colon and user else f"{scheme}://{after}"


def _bad(wrong: str, way_out: str) -> InvalidInput:
    message = f"{wrong}: {way_out}"
    return InvalidInput(message, fields={"url": message})


def _quoted(text: str) -> str:
    return quote(text, safe="")


def _unquoted(text: str) -> str:
    if re.search(r"%(?![0-9A-Fa-f]{2})", text):
        raise _bad("A % is not followed by two hexadecimal digits", "write the % character itself as %25.")
    try:
        plain = unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise _bad("The percent-encoded part is not UTF-8", "encode the text as UTF-8 first.") from None
    if "\0" in plain:
        raise _bad("The URL contains a zero byte", "leave %00 out.")
    return plain


def _login(text: str) -> tuple[str | None, str | None]:
    username, _, password = text.partition(":")
    if ":" in password:
        raise _bad("The password contains a : character", "write it as %3A.")
    return _unquoted(username) or None, _unquoted(password) or None


def _nodes(text: str, port: int) -> tuple[Address, ...]:
    if not text:
        raise _bad("The host is missing", f"for example {EXAMPLES[0]}.")
    parts = text.split(",")
    if len(parts) > MOST_NODES:
        raise _bad(f"The URL names more than {MOST_NODES} servers", "two or three to begin with are enough.")
    nodes = tuple(_node(part, port) for part in parts)
    if len(set(nodes)) != len(nodes):
        raise _bad("The URL names a server twice", "name each once.")
    return nodes


def _node(text: str, port: int) -> Address:
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        try:
            host = str(ipaddress.IPv6Address(host))
        except ValueError:
            bracket = ""
        if not bracket or (rest and not rest.startswith(":")):
            raise _bad("The address in brackets is not an IPv6 address", "write [2001:db8::1]:6379.")
        rest = rest[1:] if rest else str(port)
    else:
        if text.count(":") > 1:
            raise _bad(
                "The host contains several : characters", "put an IPv6 address in brackets: [::1]:6379."
            )
        host, colon, rest = text.partition(":")
        rest = rest if colon else str(port)
        if not host:
            raise _bad("The host is missing", f"for example {EXAMPLES[0]}.")
        if not _HOST.fullmatch(host) or len(host) > 253:
            raise _bad(
                "The host is not a host name or address",
                "use letters, digits, dots and hyphens; in a user name or password write"
                " special characters percent-encoded.",
            )
        host = host.lower()
    if not re.fullmatch(r"[0-9]{1,5}", rest) or not 1 <= int(rest) <= 65535:
        raise _bad(
            "The port is not a number from 1 to 65535",
            "for example :6379. If that was a password, it is missing its host: user:password@host.",
        )
    return Address(host, int(rest))


def _db(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text):
        raise _bad("The database is not a number", "write /0 after the port, or nothing.")
    return int(text)


def _options(query: str, kind: Kind, tls: bool) -> dict[str, object]:
    allowed = set()
    if kind is not Kind.CLUSTER:
        allowed.add("db")
    if kind is Kind.SENTINEL:
        allowed |= {"sentinel_username", "sentinel_password"}
    if tls:
        allowed |= {"ssl_cert_reqs", *_FILES}
    values: dict[str, str] = {}
    for part in query.split("&") if query else []:
        name, _, value = part.partition("=")
        if name not in allowed:
            takes = f"this one takes {', '.join(sorted(allowed))}" if allowed else "this one takes none"
            if "password" in name:
                takes = "write the password before the host: user:password@host"
            elif name.startswith("ssl_") and not tls:
                takes = "those of TLS need rediss://"
            raise _bad("The URL has a parameter after the ? that Cachewarden does not know", f"{takes}.")
        if name in values:
            raise _bad("The URL gives a parameter twice", "give it once.")
        values[name] = _unquoted(value)
    options: dict[str, object] = {}
    if "db" in values:
        options["db"] = _db(values["db"])
    if "ssl_cert_reqs" in values:
        if values["ssl_cert_reqs"] not in ("required", "none"):
            raise _bad("ssl_cert_reqs takes required or none", "required is the default.")
        options["verify"] = values["ssl_cert_reqs"] == "required"
    for name in ("sentinel_username", "sentinel_password"):
        if values.get(name):
            options[name] = values[name]
    for name, attribute in zip(_FILES, ("ca_file", "cert_file", "key_file"), strict=True):
        if values.get(name):
            options[attribute] = values[name]
    if options.get("key_file") and not options.get("cert_file"):
        raise _bad("ssl_keyfile needs ssl_certfile", "give both.")
    return options


def _folded(nodes: tuple[Address, ...]) -> str:
    first = str(nodes[0])
    if len(nodes) == 1:
        return first
    hosts = {node.host for node in nodes}
    ports = sorted(node.port for node in nodes)
    if len(hosts) == 1 and ports == list(range(ports[0], ports[0] + len(ports))):
        return f"{str(nodes[0]).rpartition(':')[0]}:[{ports[0]}-{ports[-1]}]"
    matches = [re.fullmatch(r"(.*?)(\d+)(\D*)", node.host) for node in nodes]
    if len(set(ports)) == 1 and all(matches) and not any(":" in host for host in hosts):
        parts = [match.groups() for match in matches if match]
        numbers = sorted(int(part[1]) for part in parts)
        same = {(part[0], part[2]) for part in parts}
        plain = all(part[1] == str(int(part[1])) for part in parts)
        if len(same) == 1 and plain and numbers == list(range(numbers[0], numbers[0] + len(numbers))):
            head, tail = same.pop()
            return f"{head}[{numbers[0]}-{numbers[-1]}]{tail}:{ports[0]}"
    return f"{first} + {len(nodes) - 1}"
