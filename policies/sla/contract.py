"""Under which tier a tenant's contract runs, from when to when, and which version it keeps (spec P2, V2, V5).

What the tier promises is ``promises``; which version governs a month is ``versions``. A tenant of whom no act speaks is
not here: its tier is the policy files' and its contract is open.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from policies.sla.versions import Binding, Pin

BIND: Final = "bind"
"""A tenant's tier and contract: ``tenant, tier, from``, perhaps ``to``."""
PIN: Final = "pin"
"""A tenant keeps a version until its renewal: ``tenant, number, until`` (V5)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """All that is recorded of one tenant's contract, in the order of the log.

    ``bindings`` in order of ``from_s``. ``stretches`` are the times in force, a last end of None is open.
    """

    bindings: tuple[Binding, ...] = ()
    stretches: tuple[tuple[int, int | None], ...] = ()
    pins: tuple[Pin, ...] = ()
