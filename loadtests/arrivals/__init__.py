"""Open-loop arrivals: the schedule, the client, the origin behind the gateway, and the proofs over what they saw."""
