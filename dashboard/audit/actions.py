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
    "auth:token:create": "API token made",
    "auth:token:revoke": "API token revoked",
    "auth:user:change-role": "Role changed",
    "auth:user:create": "Account added",
    "auth:user:disable": "Account disabled",
    "auth:user:enable": "Account enabled",
    "caches:cache:create": "Cache added",
    "caches:cache:delete": "Cache removed",
    "caches:cache:update": "Cache changed",
    "invalidation:limits:change": "Purge limits changed",
    "invalidation:purge:approve": "Purge approved",
    "invalidation:purge:ask-cancel": "Running purge asked to end",
    "invalidation:purge:ask-pause": "Running purge asked to pause",
    "invalidation:purge:cancel": "Purge cancelled",
    "invalidation:purge:create": "Purge drafted",
    "invalidation:purge:expire": "Unapproved purge removed",
    "invalidation:purge:fail": "Purge failed",
    "invalidation:purge:finish": "Purge done",
    "invalidation:purge:hold": "Purge stopped by itself",
    "invalidation:purge:pause": "Purge paused",
    "invalidation:purge:preview": "Purge counted",
    "invalidation:purge:recount": "Purge to be counted again",
    "invalidation:purge:resume": "Purge resumed",
    "invalidation:purge:start": "Purge started",
    "invalidation:schedule:create": "Purge schedule added",
    "invalidation:schedule:fire": "Scheduled purge made",
    "invalidation:schedule:miss": "Scheduled purge missed",
    "invalidation:schedule:pause": "Purge schedule paused",
    "invalidation:schedule:remove": "Purge schedule removed",
    "invalidation:schedule:resume": "Purge schedule resumed",
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
