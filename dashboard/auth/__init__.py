"""Accounts: signing in, passwords, roles."""
