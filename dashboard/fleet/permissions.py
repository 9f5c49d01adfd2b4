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

BROWSING = (
    Permission("+type", "TYPE", "what kind of value a key holds; without it no key can be opened"),
    Permission("+pttl", "PTTL", "when it expires"),
    Permission("+object|encoding", "OBJECT ENCODING", "how the server stores it"),
    Permission("+object|idletime", "OBJECT IDLETIME", "when it was last used"),
    Permission("+object|freq", "OBJECT FREQ", "the same, under an LFU policy"),
    Permission("+object|refcount", "OBJECT REFCOUNT", "how often it is shared"),
    Permission("+strlen", "STRLEN", "a string's length, before it is read"),
    Permission("+getrange", "GETRANGE", "a string, 64 KB at a time"),
    Permission("+hlen", "HLEN", "how many fields a hash has"),
    Permission("+hscan", "HSCAN", "a hash, 100 fields at a time"),
    Permission("+hstrlen", "HSTRLEN", "a field's length, before it is read"),
    Permission("+hget", "HGET", "one field"),
    Permission("+llen", "LLEN", "how many elements a list has"),
    Permission("+lrange", "LRANGE", "a list, 100 elements at a time"),
    Permission("+lindex", "LINDEX", "one element"),
    Permission("+scard", "SCARD", "how many members a set has"),
    Permission("+sscan", "SSCAN", "a set, 100 members at a time"),
    Permission("+sismember", "SISMEMBER", "one member"),
    Permission("+zcard", "ZCARD", "how many members a sorted set has"),
    Permission("+zrange", "ZRANGE", "a sorted set, 100 members at a time"),
    Permission("+zscore", "ZSCORE", "one member's score"),
    Permission("+xlen", "XLEN", "how many entries a stream has"),
    Permission("+xrange", "XRANGE", "one entry"),
    Permission("+xrevrange", "XREVRANGE", "a stream, 100 entries at a time"),
    Permission("+xinfo|stream", "XINFO STREAM", "how many groups a stream has"),
    Permission("+xinfo|groups", "XINFO GROUPS", "its groups"),
)
"""For the key browser, on every key, beside READ_ONLY."""

BROWSING_NEWER = (
    Permission("+client|no-touch", "CLIENT NO-TOUCH", "reading a value without making the key look used"),
    Permission("+hpttl", "HPTTL", "when a hash's field expires"),
)
"""The same, of servers that know them: Redis 7.4 or Valkey 9 for both."""

EDITS = (
    Permission(
        "+evalsha", "EVALSHA", "every edit: small scripts of one key each, limited by the other rights"
    ),
    Permission("+eval", "EVAL", "the same, where the server does not know the script yet"),
    Permission("+exists", "EXISTS", "whether the key is still there"),
    Permission("+get", "GET", "comparing a string with what was opened, within the script"),
    Permission("+set", "SET", "replacing it, its TTL kept"),
    Permission("+time", "TIME", "until when a hold lasts, within the script"),
    Permission("+unlink", "UNLINK", "deleting a key"),
    Permission("+pexpire", "PEXPIRE", "changing a TTL"),
    Permission("+persist", "PERSIST", "taking a TTL away"),
    Permission("+renamenx", "RENAMENX", "renaming a key, never over another"),
    Permission("+hset", "HSET", "a hash's field"),
    Permission("+hdel", "HDEL", "removing one"),
    Permission("+lset", "LSET", "a list's element"),
    Permission("+lrem", "LREM", "removing one"),
    Permission("+lpushx", "LPUSHX", "adding one in front"),
    Permission("+rpushx", "RPUSHX", "adding one at the end"),
    Permission("+sadd", "SADD", "adding a member to a set"),
    Permission("+srem", "SREM", "removing one"),
    Permission("+zadd", "ZADD", "a sorted set's member, or its score"),
    Permission("+zrem", "ZREM", "removing one"),
    Permission("+xadd", "XADD", "adding an entry to a stream"),
    Permission("+xdel", "XDEL", "removing one"),
)
"""For edits in the key browser, on every key, beside BROWSING."""

EDITS_NEWER = (
    Permission("+hpexpiretime", "HPEXPIRETIME", "keeping the TTL of a hash's field"),
    Permission("+hpexpireat", "HPEXPIREAT", "the same"),
)
"""The same, of servers with TTLs of hash fields: Redis 7.4, Valkey 9."""

SCANS = (
    Permission("+pttl", "PTTL", "when keys expire; without it there is no scan"),
    Permission("+type", "TYPE", "what kind of values they hold; without it there is no scan"),
    Permission("+evalsha", "EVALSHA", "reading some hundred keys at a time: a script that only reads"),
    Permission("+eval", "EVAL", "the same, where the server does not know the script yet"),
    Permission("+object|encoding", "OBJECT ENCODING", "how some of them are kept"),
    Permission("+object|idletime", "OBJECT IDLETIME", "when some of them were last used"),
    Permission("+object|freq", "OBJECT FREQ", "how often, under an LFU policy"),
    Permission("+readonly", "READONLY", "reading a replica of a Cluster; not needed elsewhere"),
    Permission(
        "+cluster|countkeysinslot",
        "CLUSTER COUNTKEYSINSLOT",
        "a fair sample of a Cluster; not needed elsewhere",
    ),
)
"""For scans of the keyspace, on every key, beside READ_ONLY."""


def grant(command: str) -> str:
    """The ACL rule for ``command``, e.g. ``+client|list`` for CLIENT LIST."""
    known = (*READ_ONLY, *PURGES, *BROWSING, *BROWSING_NEWER, *EDITS, *EDITS_NEWER, *SCANS)
    return next(each.rule for each in known if each.command == command)


def acl_line(username: str | None, commands: tuple[str, ...] = ()) -> str:
    """The ACL SETUSER command that grants what Cachewarden needs to look.

    Args:
        username: the user it is for; None is Redis' user ``default``.
        commands: grant only these, of any list above; none means all of READ_ONLY, with access to every key's
            name.
    """
    user = display((username or "default").encode())
    if commands:
        return " ".join(("ACL SETUSER", user, *(grant(command) for command in commands)))
    return " ".join(("ACL SETUSER", user, "~*", *(permission.rule for permission in READ_ONLY)))
