"""The key browser: find, open and edit any key."""
