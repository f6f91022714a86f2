"""Whether a slot's connection failures are our own network's and not the vendors' (spec O10)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from policies.exchange import Outcome

MIN_HOSTS = 3
MIN_VENDORS = 2
_UNCONNECTED: Final = frozenset({"upstream-connect", "upstream-tls", "upstream-timeout", "upstream-protocol"})
"""What an attempt at a connection ends with: no name, no route, no handshake, no answer in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedHost:
    """A host to which connections failed in the slot; ``vendor`` is whose it is, by default its registrable domain."""

    host: str
    vendor: str


def is_egress_fault(
    hosts_active: int, failed: Collection[FailedHost], *, min_hosts: int = MIN_HOSTS, min_vendors: int = MIN_VENDORS
) -> bool:
    """Three hosts of two vendors and half of the active hosts fail together: we are the common factor."""
    hosts = {each.host for each in failed}
    vendors = {each.vendor for each in failed}
    return len(hosts) >= min_hosts and len(vendors) >= min_vendors and 2 * len(hosts) >= hosts_active


def is_connection_failure(outcome: Outcome) -> bool:
    """Whether no connection came about.

    An upstream that thinks for too long has one. A caller that left is no failure of anybody's, and an egress proxy
    that fails is ours already (O5b).
    """
    return outcome.phase == "upstream_connect" and outcome.origin == "gateway" and outcome.reason in _UNCONNECTED
