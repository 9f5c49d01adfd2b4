"""Every action the audit log knows, written ``area:subject:verb``.

One list, so that a filter can offer them all and a typing mistake in a call of ``record`` is
found by the first test that runs it instead of by somebody looking for an entry in a year.
"""

ACTIONS: frozenset[str] = frozenset(
    {
        "auth:password:change",
        "auth:password:reset",
        "auth:session:end-all",
        "auth:session:sign-in",
        "auth:session:sign-out",
        "auth:user:change-role",
        "auth:user:create",
        "auth:user:disable",
        "auth:user:enable",
        "caches:cache:create",
        "caches:cache:delete",
        "caches:cache:update",
    }
)
