"""What a cache reports, what changed between two reports, and what to say about it."""
