"""Every action the audit log knows, written ``area:subject:verb``, and what it says in words.

One list, so that a filter can offer them all and a typing mistake in a call of ``record`` is
found by the first test that runs it instead of by somebody looking for an entry in a year.
"""

from collections.abc import Mapping

ACTIONS: Mapping[str, str] = {
    "auth:password:change": "Own password changed",
    "auth:password:reset": "New password given",
    "auth:session:end-all": "Signed out everywhere",
    "auth:session:sign-in": "Signed in",
    "auth:session:sign-out": "Signed out",
    "auth:user:change-role": "Role changed",
    "auth:user:create": "Account added",
    "auth:user:disable": "Account disabled",
    "auth:user:enable": "Account enabled",
    "caches:cache:create": "Cache added",
    "caches:cache:delete": "Cache removed",
    "caches:cache:update": "Cache changed",
    "policies:bypass:end": "Bypass ended",
    "policies:bypass:start": "Prefix bypassed",
    "policies:draft:discard": "Staged edits discarded",
    "policies:draft:import": "Policies staged from a file",
    "policies:draft:stage": "Policy edit staged",
    "policies:draft:unstage": "Staged edit taken back",
    "policies:version:apply": "Policies published from a file",
    "policies:version:publish": "Policies published",
    "policies:version:revert": "Policies reverted",
}
