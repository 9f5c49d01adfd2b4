"""Use cases of policies; see ``editing``, ``publishing`` and ``pages`` for each."""

from dashboard.policies.counted import marks, prefix_table, reads_avoided
from dashboard.policies.editing import (
    discard_draft,
    stage_import,
    stage_policy,
    stage_removal,
    stage_tier,
    stage_tier_removal,
    unstage,
)
from dashboard.policies.effects import effect
from dashboard.policies.pages import (
    compare_page,
    diff_import,
    draft_page,
    editor,
    export,
    history_page,
    instances_page,
    policies_page,
    preview,
    test_key,
    tier_editor,
    tiers,
    typed_editor,
    typed_tier_editor,
    version_page,
)
from dashboard.policies.publishing import apply, bypass, end_bypass, publish, revert
from dashboard.policies.recent import document_in_force, recent_load

__all__ = [
    "apply",
    "bypass",
    "compare_page",
    "diff_import",
    "discard_draft",
    "document_in_force",
    "draft_page",
    "editor",
    "effect",
    "end_bypass",
    "export",
    "history_page",
    "instances_page",
    "marks",
    "policies_page",
    "prefix_table",
    "preview",
    "publish",
    "reads_avoided",
    "recent_load",
    "revert",
    "stage_import",
    "stage_policy",
    "stage_removal",
    "stage_tier",
    "stage_tier_removal",
    "test_key",
    "tier_editor",
    "tiers",
    "typed_editor",
    "typed_tier_editor",
    "unstage",
    "version_page",
]
