"""The keyspace scan, and what is learnt from it: prefixes, memory, TTLs, conformance."""
