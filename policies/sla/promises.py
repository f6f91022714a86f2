"""All that a policy set promises, as one value that a version of the SLA can hold (spec V1, V4).

Which of it stands for whom in a month is ``agreement``; whether it is well written was decided where it was read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from policies.model import Calendar, PolicySet, Support, nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Own:
    """What is promised to one customer or department alone.

    ``department_of``: the customer on whose layer this one stands, None for a customer. ``calendar``: its choice
    among those offered, None for the contract's own (SC1).
    """

    fields: Mapping[str, object] = field(default_factory=nothing)
    department_of: str | None = None
    calendar: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Promises:
    """``service`` and ``tiers`` are layers' fields; ``tenants`` has those who have something of their own.

    ``owners``: whose each upstream is (O9). ``groups``: the upstreams that serve each route group. ``support``: by tier.
    """

    service: Mapping[str, object] = field(default_factory=nothing)
    tiers: Mapping[str, Mapping[str, object]] = field(default_factory=nothing)
    tenants: Mapping[str, Own] = field(default_factory=nothing)
    owners: Mapping[str, str] = field(default_factory=nothing)
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=nothing)
    support: Mapping[str, Support] = field(default_factory=nothing)
    calendars: Mapping[str, Calendar] = field(default_factory=nothing)


def promises_of(policy: PolicySet) -> Promises:
    """What the policy files promise."""
    raise NotImplementedError
