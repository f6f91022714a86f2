"""The way out: transports, hop-by-hop hygiene, and the endpoint that streams both ways."""
