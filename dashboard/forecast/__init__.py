"""When keys will expire: walls, what they cost the database, and the remedy."""
