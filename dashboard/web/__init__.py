"""Everything that knows Flask and no area."""
