"""TTL policies per key prefix: edited together, published as versions, followed by running applications."""
