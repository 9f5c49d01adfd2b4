"""Long work: claimed by any worker process, leased, taken over when its holder dies. Knows no area."""
