"""The scenario lab on the dashboard: runs asked for, done by a worker, kept, compared. The lab itself is the demo's."""
