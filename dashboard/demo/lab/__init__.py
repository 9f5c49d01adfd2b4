"""The lab: classic failures of a cache and their cures, side by side, with numbers."""
