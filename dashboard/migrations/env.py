"""Run by Alembic; the connection and its transaction belong to the caller."""

from alembic import context

import dashboard.audit.models
import dashboard.auth.models
import dashboard.caches.models
import dashboard.invalidation.models
import dashboard.jobs.models
import dashboard.keyspace.models
import dashboard.lab.models
import dashboard.monitoring.models
import dashboard.overview.models
import dashboard.policies.models  # noqa: F401
from dashboard.db.base import Base

context.configure(
    connection=context.config.attributes["connection"], target_metadata=Base.metadata, compare_type=True
)
context.run_migrations()
