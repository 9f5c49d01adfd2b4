"""What Cachewarden asks of a Redis user, in one place: docs/permissions.md and the connection test repeat it."""

from dataclasses import dataclass

from dashboard.fleet.text import display


@dataclass(frozen=True, slots=True)
class Permission:
    """One command Cachewarden sends.

    Args:
        rule: as ACL SETUSER takes it.
        command: as people write it.
        why: what it is for, and what is missing without it.
    """

    rule: str
    command: str
    why: str


READ_ONLY = (
    Permission("+ping", "PING", "the connection test's round trip"),
    Permission("+info", "INFO", "every chart and nearly every verdict; without it a cache can't be watched"),
    Permission("+select", "SELECT", "a database other than 0 in the URL"),
    Permission("+client|setname", "CLIENT SETNAME", "our connections are called cachewarden in CLIENT LIST"),
    Permission("+client|list", "CLIENT LIST", "the Clients page, and noticing MONITOR"),
    Permission("+slowlog|get", "SLOWLOG GET", "the Slow log page"),
    Permission("+config|get", "CONFIG GET", "whether snapshots are wanted, and the slow log's threshold"),
    Permission("+scan", "SCAN", "finding keys without blocking the server"),
    Permission("+memory|usage", "MEMORY USAGE", "the size of a key, without reading its value"),
    Permission("+cluster|slots", "CLUSTER SLOTS", "finding the nodes of a Cluster; not needed elsewhere"),
)

POLICIES = (
    Permission("+getrange", "GETRANGE", "seeing whether the published policies are still there"),
    Permission("+set", "SET", "publishing policies, and writing them again after a flush or a failover"),
    Permission("+eval", "EVAL", "never writing an older version over a newer one"),
    Permission("+hlen", "HLEN", "how many applications follow, before they are read"),
    Permission("+hgetall", "HGETALL", "which application runs which version, and what it counted"),
    Permission("+hscan", "HSCAN", "looking through counters that became too many to be read at once"),
    Permission("+hdel", "HDEL", "removing the counters of prefixes that have no policy any more"),
    Permission("+publish", "PUBLISH", "telling applications at once; without it they notice within seconds"),
)
"""For TTL policies, on keys that begin with cachewarden: and the channel cachewarden:policies alone."""

PURGES = (
    Permission("+unlink", "UNLINK", "deleting keys, and placeholders of loads in flight"),
    Permission(
        "+evalsha", "EVALSHA", "changing TTLs: small scripts of one key each, limited by the other rights"
    ),
    Permission("+eval", "EVAL", "the same, where the server does not know the script yet"),
    Permission("+pttl", "PTTL", "changing TTLs, filters by TTL, the preview's sample"),
    Permission("+pexpire", "PEXPIRE", "changing TTLs"),
    Permission(
        "+getrange", "GETRANGE", "telling placeholders from values: the first 18 bytes, within the script"
    ),
    Permission("+set", "SET", "leaving a hold where a write had covered it, within the script"),
    Permission("+time", "TIME", "until when a hold lasts, and what of a tag has expired, within scripts"),
    Permission("+type", "TYPE", "filters by type, the preview's sample"),
    Permission("+object|idletime", "OBJECT IDLETIME", "filters by idle time"),
    Permission("+zscan", "ZSCAN", "the keys of a tag"),
    Permission("+zadd", "ZADD", "purging a tag: its new version"),
    Permission("+zremrangebyscore", "ZREMRANGEBYSCORE", "purging a tag: what has expired"),
    Permission("+zrangebyscore", "ZRANGEBYSCORE", "purging a tag, within the script"),
    Permission("+hmget", "HMGET", "the database's load while a purge runs, from the applications' counters"),
    Permission(
        "+cluster|nodes", "CLUSTER NODES", "noticing slots that are being moved; not needed elsewhere"
    ),
)
"""For purges, on every key, beside READ_ONLY."""


def grant(command: str) -> str:
    """The ACL rule for ``command``, e.g. ``+client|list`` for CLIENT LIST."""
    return next(each.rule for each in (*READ_ONLY, *PURGES) if each.command == command)


def acl_line(username: str | None, commands: tuple[str, ...] = ()) -> str:
    """The ACL SETUSER command that grants what Cachewarden needs to look.

    Args:
        username: the user it is for; None is Redis' user ``default``.
        commands: grant only these, of READ_ONLY and PURGES; none means all of READ_ONLY, with access to every key's
            name.
    """
    user = display((username or "default").encode())
    if commands:
        return " ".join(("ACL SETUSER", user, *(grant(command) for command in commands)))
    return " ".join(("ACL SETUSER", user, "~*", *(permission.rule for permission in READ_ONLY)))
