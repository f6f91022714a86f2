"""Benchmarks and load tests; each prints its figure, its target and how to repeat it."""
