"""Purges: what an operator invalidates, previewed, paced, recorded."""
