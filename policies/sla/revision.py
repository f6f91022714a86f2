"""What differs between two revisions of a record, and whom it favours (spec D6).

A change in the customer's favour applies at once; any other needs approval and notice, which are given elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any, Literal

from policies.sla.canonical import canonical
from policies.sla.record import Record

Favour = Literal["customer", "provider", "neither"]

ABSENT = "absent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """``path`` is dotted, places in lists by number; a side without it is ``ABSENT``."""

    path: str
    old: object
    new: object


def diff(old: Record, new: Record) -> tuple[Difference, ...]:
    """Everything that differs, in the order of the record."""
    return tuple(_differences("", old, new))


def favours(old: Record, new: Record) -> Favour:
    """Whom the new figure serves: more credit or a lower uptime is the customer's side."""
    before, after = _worth(old), _worth(new)
    if before == after:
        return "neither"
    return "customer" if all(a >= b for b, a in zip(before, after, strict=True)) else "provider"


def _worth(record: Record) -> tuple[Fraction, ...]:
    """What a customer has from it, each part the more the better: one that falls makes it the provider's."""
    credit, figure = record["credit"], record["figure"]
    uptime = figure["uptime_exact"]
    support = record["support"] or {"objectives": []}
    broken = [each["met"] is False for each in (*record["latency"]["commitments"], *support["objectives"])]
    return (
        Fraction(Decimal(credit["percent"])),
        Fraction(int(credit["termination_right"])),
        Fraction(figure["downtime_seconds"]),
        Fraction(0) if uptime is None else -Fraction(uptime),
        Fraction(sum(broken)),
    )


def _differences(path: str, old: Any, new: Any) -> Iterator[Difference]:
    if isinstance(old, dict) and isinstance(new, dict):
        for name in (*old, *(name for name in new if name not in old)):
            yield from _differences(_under(path, name), old.get(name, ABSENT), new.get(name, ABSENT))
    elif isinstance(old, list) and isinstance(new, list):
        for at in range(max(len(old), len(new))):
            yield from _differences(
                _under(path, at), old[at] if at < len(old) else ABSENT, new[at] if at < len(new) else ABSENT
            )
    elif not _same(old, new):
        yield Difference(path=path, old=old, new=new)


def _same(old: object, new: object) -> bool:
    """``True`` is not 1, and 1 is not ``"1"``."""
    return canonical(old) == canonical(new)


def _under(path: str, name: object) -> str:
    return f"{path}.{name}" if path else str(name)
