"""Text on its way to a terminal: what stands in a log, an export or a name may come from anybody."""

from __future__ import annotations


def clean(line: str) -> str:
    """``line`` with whatever could steer a terminal as escapes, line breaks included."""
    return "".join(each if each.isprintable() else f"\\x{ord(each):02x}" for each in line)
