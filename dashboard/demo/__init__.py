"""What the demo adds to the dashboard: a shop's traffic on a cache, so that there is something to see."""
