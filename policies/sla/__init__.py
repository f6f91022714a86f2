"""Outcome classes and, later, the arithmetic of the SLA."""
